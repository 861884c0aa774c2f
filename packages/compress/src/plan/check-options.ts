/** Options of a plan that exclude one another, each refused in one sentence. */
import { type ModelSpec, type ScaleBits, SubbitError } from "@subbit/core";
import type { Allocation, Method } from "../choices.js";
import type { PlanOptions } from "../options.js";
import type { BudgetOptions } from "./budget.js";
import { AUTO_ALLOCATION, isOneBit, withEnvelopes } from "./methods.js";
import { DEFAULT_EMBED_BPW, type TableOptions } from "./tables.js";

/** Above it a factored linear is no longer smaller than the dense f16 one. */
export const LARGEST_BPW = 16;

/** Options that a plan file decides, by what people call them. */
const DECIDED_BY_FILE = {
  method: "a method",
  init: "a start",
  bpw: "bits per weight",
  bytes: "bytes",
  paths: "paths",
  envelope: "an envelope",
  scaleBits: "scale bits",
  kvFactor: "a k/v factor",
  keepFirst: "blocks to keep",
  keepLast: "blocks to keep",
} as const satisfies Partial<Record<keyof PlanOptions, string>>;

/** Throws `usage`. */
export function checkedBudget(spec: ModelSpec, options: PlanOptions): BudgetOptions {
  const { bitsFormula = "honest", kvFactor = 1, keepFirst = 0, keepLast = 0, bpw } = options;
  if (bpw !== undefined && options.bytes !== undefined) {
    throw usage("Both bits per weight and bytes were given; give one of them.");
  }
  if (bpw !== undefined) checkBpw(bpw, "");
  if (!(kvFactor > 0)) throw usage(`The k/v factor is ${kvFactor}; give a number above 0.`);
  for (const kept of [keepFirst, keepLast]) {
    if (!Number.isInteger(kept) || kept < 0) {
      throw usage(`${kept} blocks were asked to stay dense; give a whole number from 0.`);
    }
  }
  if (keepFirst + keepLast >= spec.layers) {
    throw usage(
      `${keepFirst} first and ${keepLast} last blocks were asked to stay dense, but the model has ${spec.layers}; keep fewer.`,
    );
  }
  return { bitsFormula, kvFactor, keepFirst, keepLast };
}

/**
 * How ranks are shared out: as asked for, else by default where that is possible. `method` is the one that `auto` stands
 * for too. Throws `usage` for an allocation by loss that was asked for and cannot be.
 */
export function chosenAllocation(options: PlanOptions, method: Method): Allocation {
  const { allocate, allocateForms } = options;
  if (allocate === "uniform" && allocateForms !== undefined) {
    throw usage("Forms to choose from were given, but ranks are shared out uniformly; allocate by loss.");
  }
  // Forms to choose from ask for an allocation by loss, too.
  const asked = allocate ?? (allocateForms === undefined ? undefined : "loss");
  const obstacle = obstacleToLoss(options, method);
  if (asked === undefined) return obstacle === undefined && isOurs(options) ? AUTO_ALLOCATION : "uniform";
  if (asked === "loss" && obstacle !== undefined) throw usage(obstacle);
  return asked;
}

/** Whether nothing of a paper's was asked for. */
function isOurs({ method = "auto", schedule = "tuned", bitsFormula = "honest" }: PlanOptions): boolean {
  return method === "auto" && schedule === "tuned" && bitsFormula === "honest";
}

function obstacleToLoss(options: PlanOptions, method: Method): string | undefined {
  const { plan, kvFactor = 1, allocateForms, paths, envelope, method: named = "auto" } = options;
  if (plan !== undefined) {
    return "A plan file and an allocation by loss were asked for; the file says every rank already.";
  }
  if (isOneBit(method)) {
    return `Method ${method} has no ranks to share out; choose another method or a uniform allocation.`;
  }
  if (kvFactor !== 1) {
    return "An allocation by loss gives k and v what they are worth; leave the k/v factor out or allocate uniformly.";
  }
  if (allocateForms === undefined) return undefined;
  if (paths !== undefined || envelope !== undefined) {
    return "Forms to choose from and paths or an envelope were given; give one of them.";
  }
  const able = ["auto", ...withEnvelopes()];
  if (!able.includes(named)) {
    return `Forms to choose from need method ${able.join(" or ")}, and ${named} was asked for; choose one of these.`;
  }
  return undefined;
}

/** Throws `usage` when options stand beside a plan file that decides them. */
export function checkBesideFile(options: PlanOptions): void {
  for (const [name, words] of Object.entries(DECIDED_BY_FILE)) {
    const value = options[name as keyof typeof DECIDED_BY_FILE];
    if (value === undefined || (name === "method" && value === "auto")) continue;
    throw usage(`A plan file and ${words} were given; the file decides that, leave one of them out.`);
  }
}

/** Throws `usage`. */
export function checkedTables(options: PlanOptions, scaleBits: ScaleBits): TableOptions {
  const { embedMethod = "rows", embedBits, embedBpw } = options;
  if (embedMethod === "factored" && embedBits !== undefined) {
    throw usage(
      `A factored embedding of ${embedBits} bits a value was asked for; give bits per weight instead, or store rows.`,
    );
  }
  if (embedMethod === "rows" && embedBpw !== undefined) {
    throw usage(
      `${embedBpw} bits per weight of the embedding were asked for, but it is stored by rows; ask for a factored one.`,
    );
  }
  if (embedBpw !== undefined) checkBpw(embedBpw, " of the embedding");
  return { method: embedMethod, bits: embedBits ?? 16, bpw: embedBpw ?? DEFAULT_EMBED_BPW, scaleBits };
}

function checkBpw(bpw: number, of: string): void {
  if (bpw > 0 && bpw <= LARGEST_BPW) return;
  throw usage(`${bpw} bits per weight${of} were asked for; give a number above 0, at most ${LARGEST_BPW}.`);
}

function usage(sentence: string): SubbitError {
  return new SubbitError("usage", sentence);
}
