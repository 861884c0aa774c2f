// Attention of some query rows over a range of blocks of the KV cache, with a running maximum a row (flash attention: no score
// matrix). Keys and values of 32 bits are used in place, those of 16 widened once for all rows, those of 8 multiplied as
// integers: queries and weights are rounded to 16 bits, and the step of a value's position goes into its weight.
import {
  KEY_BLOCK,
  SH_COS,
  SH_HEAD_DIM,
  SH_KV_BITS,
  SH_ROTARY,
  SH_SCALE,
  SH_SIN,
  SH_SOFTCAP,
  SH_WINDOW,
  STATE_HEAD,
  STATE_KEEP,
  STATE_LARGEST,
  STATE_QUERY_STEP,
  STATE_TOTAL,
  STATE_WEIGHT_STEP,
} from "../src/abi";
import { tanh4 } from "./elementwise";
import { widenHalves } from "./half";
import { integerProduct } from "./integer-products";
import { toIntegers } from "./integers";
import { blockBytes, paddedHead } from "./kv-cache";
import { product } from "./products";
import { rotate } from "./rotary";
import { largestLane, madd, powerOfTwo, powersOfTwo, sum } from "./simd";
import { number, real, word } from "./words";

const SCORE_BYTES: usize = KEY_BLOCK << 2;
const INTEGER_LIMIT: f32 = 32767.0;
/** Score of a key before the window: finite, so that a block that is masked whole leaves a state to go on from. */
const MASKED: f32 = -1e30;

/** Bytes of a row's state: numbers, then the mixed values. */
// @ts-ignore: decorator
@inline
export function stateBytes(padded: usize): usize {
  return (padded << 2) + STATE_HEAD;
}

// Scratch of `rows` rows: queries f32 or i16 (4 bytes a feature in any case), scores, weights as integers, a widened block.
// @ts-ignore: decorator
@inline
function scoresOf(queries: usize, rows: i32, padded: usize): usize {
  return queries + <usize>rows * (padded << 2);
}

/** Where the scratch of `attend` ends. */
// @ts-ignore: decorator
@inline
export function attendEnd(queries: usize, rows: i32, padded: usize, bits: i32): usize {
  const end = scoresOf(queries, rows, padded) + <usize>rows * (SCORE_BYTES + (SCORE_BYTES >> 1));
  return bits == 16 ? end + ((padded * KEY_BLOCK) << 2) : end;
}

/** Rotates and scales a query to its place among the queries, and clears the state of its row. */
export function prepareQuery(shape: usize, x: usize, position: i32, query: usize, state: usize): void {
  const headDim = word(shape, SH_HEAD_DIM),
    padded = paddedHead(headDim),
    rotary = word(shape, SH_ROTARY);
  const angle = (<usize>position * (rotary >> 1)) << 2;
  // The state's room serves as scratch before it is cleared.
  const row = number(shape, SH_KV_BITS) == 8 ? state + STATE_HEAD : query;
  memory.fill(row + (headDim << 2), 0, (padded - headDim) << 2);
  rotate(x, row, word(shape, SH_COS) + angle, word(shape, SH_SIN) + angle, rotary, headDim, real(shape, SH_SCALE));
  if (row != query) store<f32>(state + STATE_QUERY_STEP, toIntegers(row, query, padded, INTEGER_LIMIT));
}

export function clearState(state: usize, padded: usize): void {
  store<f32>(state + STATE_LARGEST, -Infinity);
  store<f32>(state + STATE_TOTAL, 0);
  memory.fill(state + STATE_HEAD, 0, padded << 2);
}

/**
 * Blocks [from, to) of one head's keys and values for `groups` times `group` rows; the rows of group t see the last of
 * `length` + t positions, all of them or as many as the window has. The last block holds one of them at least.
 */
export function attend(
  shape: usize,
  keys: usize,
  values: usize,
  from: i32,
  to: i32,
  queries: usize,
  states: usize,
  groups: i32,
  group: i32,
  length: i32,
): void {
  const padded = paddedHead(word(shape, SH_HEAD_DIM)),
    bits = number(shape, SH_KV_BITS),
    bytes = blockBytes(bits, padded),
    rows = groups * group,
    rowState = stateBytes(padded);
  const window = number(shape, SH_WINDOW),
    cap = real(shape, SH_SOFTCAP);
  const scores = scoresOf(queries, rows, padded),
    weights = scores + <usize>rows * SCORE_BYTES,
    wide = weights + ((<usize>rows * SCORE_BYTES) >> 1);
  keys += <usize>from * bytes;
  values += <usize>from * bytes;
  for (let block = from; block < to; block++) {
    const valid = length - block * KEY_BLOCK,
      most = min(valid + groups - 1, KEY_BLOCK),
      steps = padded * KEY_BLOCK;
    if (bits != 16) touch(values, bytes);
    if (bits == 8) {
      // prettier-ignore
      integerProduct(queries, padded << 2, rows, keys, KEY_BLOCK << 1, <i32>(padded >> 1), scores, SCORE_BYTES, KEY_BLOCK, keys + steps, states, rowState, STATE_QUERY_STEP);
    } else {
      let m = keys;
      if (bits == 16) widenHalves(keys, (m = wide), <i32>padded * KEY_BLOCK);
      // prettier-ignore
      product(queries, padded << 2, rows, m, SCORE_BYTES, <i32>word(shape, SH_HEAD_DIM), scores, SCORE_BYTES, KEY_BLOCK, 0, 0);
    }
    if (bits != 16 && block + 1 < to) touch(keys + bytes, bytes);
    let score = scores,
      state = states,
      weight = weights;
    for (let t = 0; t < groups; t++) {
      for (let h = 0; h < group; h++) {
        if (cap != 0) bend(score, cap);
        weigh(score, state, window == 0 ? 0 : valid + t - window, valid + t);
        if (bits == 8) roundWeights(score, state, valid + t, values + steps, weight);
        score += SCORE_BYTES;
        state += rowState;
        weight += SCORE_BYTES >> 1;
      }
    }
    if (bits == 8) {
      // prettier-ignore
      integerProduct(weights, SCORE_BYTES >> 1, rows, values, padded << 1, (most + 1) >> 1, states + STATE_HEAD, rowState, <i32>padded, 0, states, rowState, STATE_WEIGHT_STEP);
    } else {
      let m = values;
      if (bits == 16) widenHalves(values, (m = wide), <i32>padded * most);
      // prettier-ignore
      product(scores, SCORE_BYTES, rows, m, padded << 2, most, states + STATE_HEAD, rowState, <i32>padded, states, rowState);
    }
    keys += bytes;
    values += bytes;
  }
}

/**
 * Asks for every cache line of what is needed soon, so that it comes while something else is computed. (Not before widening,
 * which is a stream itself: measured slower.)
 */
function touch(at: usize, bytes: usize): void {
  for (const end = at + bytes; at < end; at += 256) {
    load<i32>(at);
    load<i32>(at, 64);
    load<i32>(at, 128);
    load<i32>(at, 192);
  }
}

/** Scores s / cap (in units of log2) become cap * tanh of them. */
function bend(scores: usize, cap: f32): void {
  const caps = f32x4.splat(cap);
  for (let i: usize = 0; i < SCORE_BYTES; i += 16) {
    v128.store(scores + i, f32x4.mul(tanh4(v128.load(scores + i)), caps));
  }
}

/** Scores become weights, powers of two below the running maximum; those before `first` and from `valid` on become zero. */
export function weigh(scores: usize, state: usize, first: i32, valid: i32): void {
  // The cache beyond the last token holds whatever an earlier text left there.
  if (valid < KEY_BLOCK) maskFrom(scores, valid, -Infinity);
  if (first > 0) maskBefore(scores, first, MASKED);
  const a = f32x4.pmax(v128.load(scores), v128.load(scores, 16)),
    b = f32x4.pmax(v128.load(scores, 32), v128.load(scores, 48)),
    c = f32x4.pmax(v128.load(scores, 64), v128.load(scores, 80)),
    d = f32x4.pmax(v128.load(scores, 96), v128.load(scores, 112));
  const before = v128.load32_splat(state + STATE_LARGEST),
    largest = f32x4.pmax(before, largestLane(f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d))));
  const keep = f32x4.extract_lane(powerOfTwo(f32x4.sub(before, largest)), 0);
  let total = powersOfTwo(scores, largest);
  total = f32x4.add(total, powersOfTwo(scores + 64, largest));
  if (valid < KEY_BLOCK || first > 0) {
    // Masked keys have a negligible weight by now (or any, where all are masked), but a positive one.
    maskFrom(scores, valid, 0);
    maskBefore(scores, first, 0);
    total = f32x4.add(quarterSums(scores), quarterSums(scores + 64));
  }
  store<f32>(state + STATE_LARGEST, f32x4.extract_lane(largest, 0));
  store<f32>(state + STATE_KEEP, keep);
  store<f32>(state + STATE_TOTAL, load<f32>(state + STATE_TOTAL) * keep + sum(total));
}

/** Sums of lanes of sixteen floats, added as powersOfTwo adds them. */
// @ts-ignore: decorator
@inline
function quarterSums(at: usize): v128 {
  const ab = f32x4.add(v128.load(at), v128.load(at, 16));
  return f32x4.add(f32x4.add(ab, v128.load(at, 32)), v128.load(at, 48));
}

function maskFrom(row: usize, valid: i32, value: f32): void {
  const end = row + SCORE_BYTES;
  for (row += <usize>max(valid, 0) << 2; row < end; row += 4) store<f32>(row, value);
}

function maskBefore(row: usize, first: i32, value: f32): void {
  const end = row + (<usize>min(max(first, 0), KEY_BLOCK) << 2);
  for (; row < end; row += 4) store<f32>(row, value);
}

/** Weights times the steps of their values as 16-bit integers, with a step of the row's own. */
export function roundWeights(weights: usize, state: usize, valid: i32, steps: usize, integers: usize): void {
  for (let i: usize = 0; i < SCORE_BYTES; i += 16) {
    v128.store(weights + i, f32x4.mul(v128.load(weights + i), v128.load(steps + i)));
  }
  // Steps beyond the last token may be anything.
  if (valid < KEY_BLOCK) maskFrom(weights, valid, 0);
  store<f32>(state + STATE_WEIGHT_STEP, toIntegers(weights, integers, KEY_BLOCK, INTEGER_LIMIT));
}

/** Adds the state `part`, of later blocks, to `whole`. */
export function fold(whole: usize, part: usize, padded: usize): void {
  const before = load<f32>(whole + STATE_LARGEST),
    after = load<f32>(part + STATE_LARGEST),
    largest = max(before, after);
  const keepBefore = powerOfTwo(f32x4.splat(before - largest)),
    keepAfter = powerOfTwo(f32x4.splat(after - largest));
  store<f32>(whole + STATE_LARGEST, largest);
  store<f32>(
    whole + STATE_TOTAL,
    load<f32>(whole + STATE_TOTAL) * f32x4.extract_lane(keepBefore, 0) +
      load<f32>(part + STATE_TOTAL) * f32x4.extract_lane(keepAfter, 0),
  );
  for (let i: usize = STATE_HEAD, end = stateBytes(padded); i < end; i += 16) {
    const kept = f32x4.mul(v128.load(whole + i), keepBefore);
    v128.store(whole + i, madd(v128.load(part + i), keepAfter, kept));
  }
}

/** The mixed values of a finished state. */
export function finishRow(state: usize, dst: usize, headDim: usize): void {
  const inverse: f32 = 1.0 / load<f32>(state + STATE_TOTAL);
  const end = headDim << 2;
  let i: usize = 0;
  for (; i + 16 <= end; i += 16) {
    v128.store(dst + i, f32x4.mul(v128.load(state + STATE_HEAD + i), f32x4.splat(inverse)));
  }
  for (; i < end; i += 4) store<f32>(dst + i, load<f32>(state + STATE_HEAD + i) * inverse);
}

/** The first block that a query sees, the same for all positions of its block. */
export function firstBlock(shape: usize, position: i32): i32 {
  const window = number(shape, SH_WINDOW);
  return window == 0 ? 0 : max(0, (position & ~(KEY_BLOCK - 1)) + 1 - window) / KEY_BLOCK;
}
