/**
 * HellaSwag (Zellers et al. 2019): how a scene goes on. Rows are either the data set's own (`activity_label`, `ctx_a`,
 * `ctx_b`, cleaned here as lm-evaluation-harness does) or cleaned before (`query`, taken as it stands).
 */
import { z } from "zod";
import { choiceRow } from "./choices.js";
import { index } from "./fields.js";
import { capitalize, strip } from "./python-text.js";
import type { TaskDefinition } from "./types.js";

export const hellaswag: TaskDefinition = {
  name: "hellaswag",
  row: z
    .object({
      query: z.string().optional(),
      activity_label: z.string().optional(),
      ctx_a: z.string().optional(),
      ctx_b: z.string().optional(),
      endings: z.array(z.string()),
      label: index,
    })
    .transform(({ query, activity_label: activity, ctx_a: a, ctx_b: b, endings, label }, context) => {
      if (query !== undefined) return choiceRow(query, endings, label);
      if (activity === undefined || a === undefined || b === undefined) {
        context.addIssue("there is neither query nor activity_label, ctx_a and ctx_b");
        return z.NEVER;
      }
      return choiceRow(clean(`${activity}: ${a} ${capitalize(b)}`), endings.map(clean), label);
    }),
};

/** Takes WikiHow's marks out. The order matters: stripped first, so that a mark in front leaves a blank. */
function clean(text: string): string {
  return strip(text)
    .replaceAll(" [title]", ". ")
    .replace(/\[[^\n]*?\]/g, "")
    .replaceAll("  ", " ");
}
