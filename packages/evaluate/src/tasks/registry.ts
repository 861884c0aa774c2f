/** The tasks that are known by name. To add one: a file with its definition, and its line here. */
import { arcChallenge, arcEasy } from "./arc.js";
import { boolq } from "./boolq.js";
import { hellaswag } from "./hellaswag.js";
import { openbookqa } from "./openbookqa.js";
import { piqa } from "./piqa.js";
import type { TaskDefinition } from "./types.js";
import { winogrande } from "./winogrande.js";

/** Requests are those of lm-evaluation-harness 0.4 without examples (0-shot) and without a chat template. */
export const TASKS: readonly TaskDefinition[] = [
  boolq,
  piqa,
  hellaswag,
  winogrande,
  arcEasy,
  arcChallenge,
  openbookqa,
];
