/** ARC (Clark et al. 2018): science questions of schools, an easy set and a hard one of the same form. */
import { z } from "zod";
import { choiceRow } from "./choices.js";
import { goldOf, labelledChoices } from "./fields.js";
import type { TaskDefinition } from "./types.js";

const row: TaskDefinition["row"] = z
  .object({ question: z.string(), ...labelledChoices })
  .transform((value, context) =>
    choiceRow(`Question: ${value.question}\nAnswer:`, value.choices.text, goldOf(value, context)),
  );

export const arcEasy: TaskDefinition = { name: "arc_easy", row };
export const arcChallenge: TaskDefinition = { name: "arc_challenge", row };
