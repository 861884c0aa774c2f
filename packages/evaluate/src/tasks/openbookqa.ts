/** OpenBookQA (Mihaylov et al. 2018): the stem of a sentence and four ends, without the book. */
import { z } from "zod";
import { choiceRow } from "./choices.js";
import { goldOf, labelledChoices } from "./fields.js";
import type { TaskDefinition } from "./types.js";

export const openbookqa: TaskDefinition = {
  name: "openbookqa",
  row: z
    .object({ question_stem: z.string(), ...labelledChoices })
    .transform((value, context) =>
      choiceRow(value.question_stem, value.choices.text, goldOf(value, context)),
    ),
};
