/** Writes scheduled drafts as instruction words. */
import { INSTRUCTION_WORDS, OP_BARRIER } from "../abi.js";
import { isValue, type Draft, type Value } from "./draft.js";
import type { Level } from "./schedule.js";

const asFloat = new Float32Array(1);
const asWord = new Uint32Array(asFloat.buffer);

/** Words of the levels with a barrier after each but the last. */
export function encodeLevels(levels: readonly Level[], addressOf: (value: Value) => number): Uint32Array {
  const count = levels.reduce((sum, level) => sum + level.length + 1, -1);
  const words = new Uint32Array(Math.max(0, count) * INSTRUCTION_WORDS);
  let at = 0;
  levels.forEach((level, i) => {
    if (i > 0) {
      words[at] = OP_BARRIER;
      at += INSTRUCTION_WORDS;
    }
    for (const draft of level) {
      encodeDraft(draft, addressOf, words.subarray(at, at + INSTRUCTION_WORDS));
      at += INSTRUCTION_WORDS;
    }
  });
  return words;
}

function encodeDraft(draft: Draft, addressOf: (value: Value) => number, words: Uint32Array): void {
  words[0] = draft.op;
  for (const [index, operand] of Object.entries(draft.operands)) {
    if (isValue(operand)) words[Number(index)] = addressOf(operand);
    else if (typeof operand === "number") words[Number(index)] = operand;
    else {
      asFloat[0] = operand.real;
      words[Number(index)] = asWord[0];
    }
  }
}
