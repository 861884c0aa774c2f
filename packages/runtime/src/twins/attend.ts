/** Twin of attention of one row over a range of blocks, block by block with a running maximum, as the kernel rounds it. */
import { KEY_BLOCK } from "../abi.js";
import { madd, powerOfTwo, sumLanes } from "./arithmetic.js";
import { tanh } from "./elementwise.js";
import { toIntegers } from "./integers.js";
import type { Block, Shape } from "./kv-cache.js";

const f = Math.fround;
const INTEGER_LIMIT = 32767;
/** Score of a key before the window. */
const MASKED = Math.fround(-1e30);

export interface State {
  largest: number;
  total: number;
  /** [headDim padded] */
  mixed: Float32Array;
}

export interface Query {
  /** [headDim padded], integers where the cache has 8 bits */
  readonly values: ArrayLike<number>;
  readonly step: number;
}

export function prepareQuery(shape: Shape, rotated: Float32Array): Query {
  const row = new Float32Array(shape.padded);
  row.set(rotated);
  if (shape.bits !== 8) return { values: row, step: 1 };
  const { integers, step } = toIntegers(row, INTEGER_LIMIT);
  return { values: integers, step };
}

export function newState(shape: Shape): State {
  return { largest: -Infinity, total: 0, mixed: new Float32Array(shape.padded) };
}

/** One block, of which the positions before `valid` are seen, and of these the ones from `first` on. */
export function attendBlock(
  fused: boolean,
  shape: Shape,
  query: Query,
  keys: Block,
  values: Block,
  state: State,
  first: number,
  valid: number,
): void {
  const count = Math.min(valid, KEY_BLOCK);
  const score = (j: number): number =>
    shape.bits === 8
      ? f(f(integerDot(query.values, keys.rows[j]) * query.step) * keys.steps[j])
      : dot(fused, query.values, keys.rows[j], shape.headDim);
  const bent = (s: number): number => (shape.softcap === 0 ? s : f(tanh(s) * shape.softcap));
  const scores = Float32Array.from({ length: count }, (_, j) => (j < first ? MASKED : bent(score(j))));
  const largest = scores.reduce((a, b) => Math.max(a, b), state.largest);
  const keep = powerOfTwo(fused, f(state.largest - largest));
  const weights = scores.map((each, j) => (j < first ? 0 : powerOfTwo(fused, f(each - largest))));
  state.largest = largest;
  state.total = f(f(state.total * keep) + sumWeights(weights));
  if (shape.bits === 8) mixIntegers(fused, state, keep, weights, values);
  else {
    for (let i = 0; i < shape.padded; i++) {
      let sum = f(state.mixed[i] * keep);
      for (let j = 0; j < count; j++) sum = madd(fused, weights[j], values.rows[j][i], sum);
      state.mixed[i] = sum;
    }
  }
}

/** Four lanes of each half of the block; then the halves, then the lanes. */
function sumWeights(weights: Float32Array): number {
  const halves = [new Float32Array(4), new Float32Array(4)];
  weights.forEach((weight, j) => (halves[Math.floor((j * 2) / KEY_BLOCK)][j & 3] += weight));
  const [a, b, c, d] = halves[0].map((sum, lane) => sum + halves[1][lane]);
  return sumLanes(a, b, c, d);
}

function mixIntegers(fused: boolean, state: State, keep: number, weights: Float32Array, values: Block): void {
  const { integers, step } = toIntegers(
    weights.map((weight, j) => weight * values.steps[j]),
    INTEGER_LIMIT,
  );
  for (let i = 0; i < state.mixed.length; i++) {
    let sum = 0;
    for (let j = 0; j < integers.length; j++) sum += integers[j] * values.rows[j][i];
    state.mixed[i] = madd(fused, f(sum), step, f(state.mixed[i] * keep));
  }
}

/** A chain of multiply-adds, feature by feature. */
function dot(fused: boolean, a: ArrayLike<number>, b: Float32Array, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum = madd(fused, a[i], b[i], sum);
  return sum;
}

function integerDot(a: ArrayLike<number>, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < b.length; i++) sum += a[i] * b[i];
  return f(sum);
}

/** Adds the state `part`, of later blocks, to `whole`. */
export function fold(fused: boolean, whole: State, part: State): void {
  const largest = Math.max(whole.largest, part.largest);
  const before = powerOfTwo(fused, f(whole.largest - largest));
  const after = powerOfTwo(fused, f(part.largest - largest));
  whole.largest = largest;
  whole.total = f(f(whole.total * before) + f(part.total * after));
  whole.mixed = whole.mixed.map((value, i) => madd(fused, part.mixed[i], after, f(value * before)));
}
