/** The common kind of row: one context, continuations of one blank and a text each. */
import type { ChoiceRow } from "./types.js";

/** What stands between context and choice (lm-evaluation-harness: `target_delimiter`). */
export const DELIMITER = " ";

/** Choices are taken as they stand: blanks at their ends count. */
export function choiceRow(
  context: string,
  choices: readonly string[],
  gold: number,
  delimiter = DELIMITER,
): Required<ChoiceRow> {
  return {
    requests: choices.map((choice) => ({ context, continuation: delimiter + choice })),
    gold,
    choices,
  };
}
