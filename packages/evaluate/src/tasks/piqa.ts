/** PIQA (Bisk et al. 2020): which of two ways reaches a goal. */
import { z } from "zod";
import { choiceRow } from "./choices.js";
import { index } from "./fields.js";
import type { TaskDefinition } from "./types.js";

export const piqa: TaskDefinition = {
  name: "piqa",
  row: z
    .object({ goal: z.string(), sol1: z.string(), sol2: z.string(), label: index })
    .transform(({ goal, sol1, sol2, label }) => choiceRow(`Question: ${goal}\nAnswer:`, [sol1, sol2], label)),
};
