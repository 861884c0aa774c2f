/** Fields that the data files of several tasks share. */
import { z } from "zod";

/** An index, as a number or in digits: data sets have both. */
export const index = z.union(
  [
    z.int().min(0),
    z
      .string()
      .regex(/^\d{1,9}$/)
      .transform(Number),
  ],
  { error: "not an index (0, 1, ...)" },
);

/** ARC and OpenBookQA: texts and labels side by side, the answer is a label. */
export const labelledChoices = {
  choices: z.object({ text: z.array(z.string()), label: z.array(z.string()) }),
  answerKey: z.string(),
};

/** The index of the answer; adds an issue where there is none. */
export function goldOf(
  { choices, answerKey }: z.infer<z.ZodObject<typeof labelledChoices>>,
  context: z.RefinementCtx,
): number {
  const { text, label } = choices;
  const gold = label.indexOf(answerKey.trimStart());
  if (label.length !== text.length) {
    context.addIssue(`choices has ${text.length} texts and ${label.length} labels`);
  } else if (gold < 0) {
    context.addIssue(`answerKey ${JSON.stringify(answerKey.slice(0, 20))} is none of the labels`);
  }
  return gold;
}
