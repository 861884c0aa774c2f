/** Tasks that users bring: a file of rows `{"context", "choices", "gold"}`. */
import { z } from "zod";
import { choiceRow, DELIMITER } from "./choices.js";
import type { TaskDefinition } from "./types.js";

/**
 * A task whose rows say all themselves. `delimiter` stands between context and choice.
 * @param name what the report calls it
 */
export function customTask(name: string): TaskDefinition {
  return { name, row };
}

const row: TaskDefinition["row"] = z
  .object({
    context: z.string(),
    choices: z.array(z.string()),
    gold: z.int().min(0),
    delimiter: z.string().default(DELIMITER),
  })
  .transform(({ context, choices, gold, delimiter }) => choiceRow(context, choices, gold, delimiter));
