/** BoolQ (Clark et al. 2019): a passage and a yes/no question. acc only. */
import { z } from "zod";
import { choiceRow } from "./choices.js";
import type { TaskDefinition } from "./types.js";

export const boolq: TaskDefinition = {
  name: "boolq",
  row: z
    .object({
      passage: z.string(),
      question: z.string(),
      /** Of the original data set. */
      answer: z.boolean().optional(),
      /** Of its SuperGLUE version. */
      label: z.int().min(0).max(1).optional(),
    })
    .transform(({ passage, question, answer, label }, context) => {
      const gold = answer === undefined ? label : Number(answer);
      if (gold === undefined) context.addIssue("there is neither answer nor label");
      const { requests } = choiceRow(`${passage}\nQuestion: ${question}?\nAnswer:`, ["no", "yes"], gold ?? 0);
      return { requests, gold: gold ?? 0 };
    }),
};
