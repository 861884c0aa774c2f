/** Where the time of one token goes, by kind of instruction. */
import {
  INSTRUCTION_WORDS,
  M_HEAD_ONLY,
  M_ROWS,
  M_ROW_BYTES,
  OP_ACTIVATE,
  OP_ADD,
  OP_ATTEND_TOKEN,
  OP_BARRIER,
  OP_DENSE,
  OP_EMBED,
  OP_HEAD_NORM,
  OP_MULTIPLY,
  OP_NORM,
  OP_POSITIONS,
  OP_SCALE,
  OP_SIGN_MULTIPLY,
  OP_SIGN_PRODUCT,
  OP_SIGN_ROWS,
  OP_SIGN_TABLES,
  OP_SOFTCAP,
  OP_SKETCH_ESTIMATE,
  OP_SKETCH_RESCORE,
  S_COLS,
  S_ROWS,
  S_TERMS,
} from "../abi.js";

export interface ProfileRow {
  readonly instruction: string;
  /** Instructions of this kind in one token. */
  readonly count: number;
  /** Of all of them together; each instruction's least time over the rounds. */
  readonly microseconds: number;
  /** Sign additions. */
  readonly signs: number;
  /** Bytes of weights that are read; 0 for those that read none. */
  readonly bytes: number;
}

export interface TokenProfile {
  /** Slowest first. */
  readonly rows: readonly ProfileRow[];
  readonly microseconds: number;
}

/** An instruction and what it took. */
export interface TimedInstruction {
  /** [INSTRUCTION_WORDS] */
  readonly words: Uint32Array;
  readonly milliseconds: number;
}

const NAMES = new Map<number, string>([
  [OP_EMBED, "embedding"],
  [OP_SIGN_ROWS, "rows of a factored embedding"],
  [OP_NORM, "norm"],
  [OP_HEAD_NORM, "norm of heads"],
  [OP_POSITIONS, "learned positions"],
  [OP_SCALE, "scaling of the embedding"],
  [OP_SOFTCAP, "soft cap of the logits"],
  [OP_DENSE, "dense product"],
  [OP_SIGN_TABLES, "tables (with norm or activation)"],
  [OP_SIGN_PRODUCT, "sign product"],
  [OP_SIGN_MULTIPLY, "sign product with its tables"],
  [OP_ATTEND_TOKEN, "attention"],
  [OP_SKETCH_ESTIMATE, "head: estimates by the sketch"],
  [OP_SKETCH_RESCORE, "head: exact logits of candidates"],
  [OP_ACTIVATE, "activation"],
  [OP_ADD, "sum"],
  [OP_MULTIPLY, "elementwise product"],
]);

export function summarise(times: readonly TimedInstruction[]): TokenProfile {
  const rows = new Map<string, ProfileRow>();
  for (const { words, milliseconds } of times) {
    const op = words[0];
    const instruction = NAMES.get(op) ?? `instruction ${op}`;
    const { count, microseconds, signs, bytes } = rows.get(instruction) ?? {
      count: 0,
      microseconds: 0,
      signs: 0,
      bytes: 0,
    };
    const read = op === OP_SIGN_PRODUCT || op === OP_SIGN_MULTIPLY ? words[S_ROWS] * words[S_COLS] : 0;
    rows.set(instruction, {
      instruction,
      count: count + 1,
      microseconds: microseconds + milliseconds * 1000,
      signs: signs + read * words[S_TERMS],
      bytes: bytes + (op === OP_DENSE ? words[M_ROWS] * words[M_ROW_BYTES] : read / 8),
    });
  }
  const sorted = [...rows.values()].sort((a, b) => b.microseconds - a.microseconds);
  return { rows: sorted, microseconds: sorted.reduce((sum, row) => sum + row.microseconds, 0) };
}

/**
 * Addresses and words of the instructions in [start, end) but barriers.
 *
 * @param shortlist whether the head is asked for its largest logits only: of its two ways the other does nothing then
 */
export function instructionsIn(
  buffer: ArrayBufferLike,
  start: number,
  end: number,
  shortlist: boolean,
): Map<number, Uint32Array> {
  const found = new Map<number, Uint32Array>();
  for (let at = start; at < end; at += INSTRUCTION_WORDS * 4) {
    const words = new Uint32Array(buffer, at, INSTRUCTION_WORDS).slice();
    const op = words[0];
    const whole = op === OP_DENSE && words[M_HEAD_ONLY] === 1;
    const sketch = op === OP_SKETCH_ESTIMATE || op === OP_SKETCH_RESCORE;
    if (op !== OP_BARRIER && !(shortlist ? whole : sketch)) found.set(at, words);
  }
  return found;
}
