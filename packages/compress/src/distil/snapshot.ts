/** A distillation's state as an artefact of the ledger. */
import { SubbitError } from "@subbit/core";
import type { Artefact } from "../ledger/artefact.js";
import type { Json } from "../ledger/canonical.js";
import type { DistilSnapshot } from "./types.js";

export function artefactOf({ arrays, ...rest }: DistilSnapshot): Artefact {
  // JSON has no NaN; it makes null of it.
  return { arrays, json: JSON.parse(JSON.stringify(rest)) as Json };
}

/** The inverse. Throws `input` when the artefact is something else. */
export function snapshotOf({ arrays, json }: Artefact): DistilSnapshot {
  const rest = json as unknown as Partial<Omit<DistilSnapshot, "arrays">> | null;
  const { step, losses, lossBefore, evaluations } = rest ?? {};
  if (typeof step !== "number" || losses?.length !== step || evaluations === undefined) {
    throw new SubbitError("input", "A stored distillation has no steps and losses; remove it to begin anew.");
  }
  return {
    arrays: arrays as DistilSnapshot["arrays"],
    step,
    losses,
    lossBefore: lossBefore ?? NaN,
    evaluations: evaluations.map((one) => ({ step: one.step, value: (one.value as number | null) ?? NaN })),
  };
}
