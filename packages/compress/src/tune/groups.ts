/** Which linears of a block are factorised together, between two rounds of tuning the dense rest. */
import type { LinearRole } from "@subbit/core";

/** In the order of the forward pass: a group's inputs come from groups before it. */
export const LINEAR_GROUPS: readonly (readonly LinearRole[])[] = [
  ["q", "k", "v"],
  ["o"],
  ["gate", "up"],
  ["down"],
];
