/** Room for the sketch of the head (assembly/sketch-rows.ts tells the idea); it is filled once hidden states have been seen. */
import {
  DENSE_COL_PAD,
  DTYPE_I2,
  DTYPE_I4,
  LIST_HEAD_BYTES,
  Q_BASIS,
  Q_COEFFICIENTS,
  Q_DEVIATIONS,
  Q_DIRECTIONS,
  Q_ESTIMATES,
  Q_LISTS,
  Q_LIST_BYTES,
  Q_PARAMETERS,
  Q_PLANE,
  Q_PLANES,
  Q_SECOND_PLANE,
  Q_TURNS,
  Q_WORK,
  Q_WORK_BYTES,
  SHORTLIST_MAX,
  SKETCH_BLOCK,
  SKETCH_PARAMETERS,
  SKETCH_TILE,
  SKETCH_WORDS,
  WORK_VECTOR,
} from "../abi.js";
import { createRandom } from "../sampling/random.js";
import type { Arena } from "./arena.js";
import { pad, type PlacedDense } from "./place.js";

export interface PlacedSketch {
  readonly address: number;
  readonly head: PlacedDense;
  /** Columns with padding. */
  readonly cols: number;
  readonly directions: number;
  /** f32 [1 + directions, cols] */
  readonly basis: number;
  /** Final results of thread t: a list at `lists + t * listBytes`. */
  readonly lists: number;
  readonly listBytes: number;
}

/** Directions in which hidden states are large, 32 of them: a larger share of a state each than a sign plane is worth. */
export const SKETCH_DIRECTIONS = 32;
/**
 * Standard deviations of an estimate's error that are allowed for: the true maximum is missed once in a thousand million tokens
 * if errors are normally distributed, which the rotation sees to.
 */
export const SKETCH_DEVIATIONS = 6;
/** The kernel reads this far ahead of what it works on. */
const READ_AHEAD = 4096 + 64;
/** Smaller heads take no longer than a sketch of them. */
const WORTH_ROWS = 2048;
const WORTH_WEIGHTS = 1 << 20;

export function isSketchWorth({ rows, cols }: PlacedDense): boolean {
  return rows >= WORTH_ROWS && rows * cols >= WORTH_WEIGHTS;
}

/** A second plane saves most of the rescoring; of a large head of 4 or 2-bit codes it would be a quarter or half as much again. */
const LARGE_PLANE_BYTES = 8 << 20;

function planesOf({ dtype, rows, cols }: PlacedDense): number {
  const small = dtype === DTYPE_I4 || dtype === DTYPE_I2;
  return small && (rows * cols) / 8 > LARGE_PLANE_BYTES ? 1 : 2;
}

/** Bytes of the sketch of a [rows, cols] matrix at most, the work memory of threads not counted. */
export function sketchBytes(rows: number, cols: number, planes = 2): number {
  const padded = pad(rows, SKETCH_TILE);
  return padded * ((planes * pad(cols, DENSE_COL_PAD)) / 8 + SKETCH_DIRECTIONS + 4 * SKETCH_PARAMETERS + 4);
}

export function placeSketch(
  arena: Arena,
  head: PlacedDense,
  threads: number,
  planes = planesOf(head),
): PlacedSketch {
  const cols = pad(head.cols, DENSE_COL_PAD);
  const rows = pad(head.rows, SKETCH_TILE);
  const planeBytes = (rows * cols) / 8;
  const workBytes = pad(WORK_VECTOR + 8 * cols + 4 * Math.ceil(cols / SKETCH_BLOCK), 64);
  // Picks, first results, final results.
  const listBytes = LIST_HEAD_BYTES + 8 * SHORTLIST_MAX;
  const turns = turnsOf(cols);
  const words = new Uint32Array(SKETCH_WORDS);
  words[Q_PLANES] = planes;
  words[Q_DIRECTIONS] = SKETCH_DIRECTIONS;
  new Float32Array(words.buffer)[Q_DEVIATIONS] = SKETCH_DEVIATIONS;
  words[Q_PLANE] = arena.allocate(planeBytes);
  words[Q_SECOND_PLANE] = planes === 2 ? arena.allocate(planeBytes) : 0;
  words[Q_COEFFICIENTS] = arena.allocate(rows * SKETCH_DIRECTIONS);
  words[Q_PARAMETERS] = arena.allocate(rows * 4 * SKETCH_PARAMETERS);
  words[Q_ESTIMATES] = arena.allocate(rows * 4);
  words[Q_BASIS] = arena.allocate((1 + SKETCH_DIRECTIONS) * cols * 4);
  words[Q_TURNS] = arena.putFloats(turns, turns.length);
  words[Q_WORK] = arena.allocate(workBytes * threads);
  words[Q_WORK_BYTES] = workBytes;
  words[Q_LISTS] = arena.allocate(3 * pad(listBytes, 64) * threads + READ_AHEAD);
  words[Q_LIST_BYTES] = 3 * pad(listBytes, 64);
  const address = arena.allocate(words.byteLength);
  arena.bytes(address, words.byteLength).set(new Uint8Array(words.buffer));
  return {
    address,
    head,
    cols,
    directions: SKETCH_DIRECTIONS,
    basis: words[Q_BASIS],
    lists: words[Q_LISTS] + 2 * listBytes,
    listBytes: words[Q_LIST_BYTES],
  };
}

/** The seeded signs of the rotation, scaled so that its transforms keep lengths; see assembly/rotate.ts. */
export function turnsOf(cols: number): Float32Array {
  const random = createRandom(cols);
  const length = 2 ** Math.floor(Math.log2(cols));
  const firsts = length < cols ? [0, cols - length] : [0];
  const turns = new Float32Array(2 * firsts.length * cols);
  for (let pass = 0; pass < 2 * firsts.length; pass++) {
    const first = firsts[pass % firsts.length];
    for (let i = 0; i < cols; i++) {
      const sign = random() < 0.5 ? -1 : 1;
      turns[pass * cols + i] = i >= first && i < first + length ? sign / Math.sqrt(length) : sign;
    }
  }
  return turns;
}
