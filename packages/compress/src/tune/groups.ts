/** Which linears of a block are factorised together, between two rounds of tuning the dense rest. */
import type { LinearRole } from "@subbit/core";
import type { Method } from "../choices.js";
import type { Schedule } from "../factorise/types.js";

export type LinearGroups = readonly (readonly LinearRole[])[];

/** In the order of the forward pass: a group's inputs come from groups before it. */
const FORWARD: LinearGroups = [["q", "k", "v"], ["o"], ["gate", "up"], ["down"]];

/** Of DBF's own code: the dense rest is tuned twice a block, before q and before k (in the first block only before k). */
const DBF: LinearGroups = [
  ["q", "v", "o"],
  ["k", "up", "gate", "down"],
];

/** Groups that differ from those of the forward pass, by method, under the schedules of the papers' own code. */
const OFFICIAL: Partial<Record<Method, LinearGroups>> = { dbf: DBF };

/** The groups of a block with the linears `linears`, in order. */
export function linearGroups(
  method: Method,
  schedule: Schedule,
  linears: readonly LinearRole[],
): LinearGroups {
  return among((schedule === "official" ? OFFICIAL[method] : undefined) ?? FORWARD, linears);
}

/** The linear whose input stands for that of `role`: q, k and v read the same one, and so do gate and up. */
export function inputOwner(role: LinearRole, linears: readonly LinearRole[]): LinearRole {
  return among(FORWARD, linears).find((group) => group.includes(role))?.[0] ?? role;
}

/** One linear for each distinct input of a block. */
export function inputOwners(linears: readonly LinearRole[]): LinearRole[] {
  return among(FORWARD, linears).map((group) => group[0]);
}

function among(groups: LinearGroups, linears: readonly LinearRole[]): LinearGroups {
  return groups
    .map((group) => group.filter((role) => linears.includes(role)))
    .filter((group) => group.length > 0);
}
