// Estimates of all products of a sketched matrix with x, and the exact value of the most promising ones: their least, of as many
// as are wanted, is what every other row has to reach. Each thread prepares x for itself, which is quicker than a barrier.
import {
  CTRL_SHORTLIST,
  DTYPE_F32,
  M_BIAS,
  M_COLS,
  M_ROWS,
  M_SKETCH,
  Q_BASIS,
  Q_COEFFICIENTS,
  Q_DEVIATIONS,
  Q_DIRECTIONS,
  Q_ESTIMATES,
  Q_LISTS,
  Q_LIST_BYTES,
  Q_PARAMETERS,
  Q_PLANE,
  Q_TURNS,
  Q_WORK,
  Q_WORK_BYTES,
  LIST_HEAD_BYTES,
  SHORTLIST_MAX,
  SKETCH_DEAL,
  SKETCH_PARAMETERS,
  SKETCH_PICKS,
  SKETCH_TILE,
  WORK_CENTRE,
  WORK_CODES,
  WORK_OTHER_SUMS,
  WORK_PRODUCTS,
  WORK_REST,
  WORK_ROUNDING,
  WORK_STEP,
  WORK_SUMS,
  WORK_TABLES,
  WORK_VECTOR,
  W_SRC,
  Y_CENTRE,
  Y_SCALE,
  Y_STEP,
} from "../src/abi";
import { fourRows } from "./dense-rows";
import { rescore, settle } from "./rescore";
import { rotate } from "./rotate";
import { listFloor, offer } from "./sketch-list";
import { planeSums, sketchTables } from "./sketch-planes";
import { product, subtract } from "./sketch-rows";
import { number, real, word } from "./words";

/** Bytes of one list. */
export const LIST_BYTES: usize = LIST_HEAD_BYTES + SHORTLIST_MAX * 8;

/** Takes centre and directions out of x, rotates the rest and makes its tables; says what errors scale with. */
function prepare(pc: usize, sketch: usize, work: usize): void {
  const cols = number(pc, M_COLS), bytes = <usize>cols << 2, directions = number(sketch, Q_DIRECTIONS);
  const basis = word(sketch, Q_BASIS), x = work + WORK_VECTOR, products = work + WORK_PRODUCTS;
  memory.copy(x, word(pc, W_SRC), bytes);
  const size = sqrt<f32>(product(x, x, cols)), along = product(basis, x, cols);
  subtract(x, along, basis, cols);
  let largest = f32x4.splat(0);
  let u = basis + bytes;
  for (let k = 0; k < directions; k += 4) {
    const four = fourRows(DTYPE_F32, u, u + bytes, u + 2 * bytes, u + 3 * bytes, x, cols);
    largest = f32x4.max(largest, f32x4.abs(four));
    v128.store(products + (<usize>k << 2), four);
    u += 4 * bytes;
  }
  const most = max(
    max(f32x4.extract_lane(largest, 0), f32x4.extract_lane(largest, 1)),
    max(f32x4.extract_lane(largest, 2), f32x4.extract_lane(largest, 3)),
  );
  const factor: f32 = most > 1e-30 ? 32767 / most : 0, step: f32 = most > 1e-30 ? most / 32767 : 0;
  u = basis + bytes;
  for (let k = 0; k < directions; k++) {
    const code = nearest<f32>(load<f32>(products + (<usize>k << 2)) * factor);
    store<i16>(work + WORK_CODES + (<usize>k << 1), <i16><i32>code);
    // What is taken out is the rounded product, so rounding it costs nothing.
    subtract(x, code * step, u, cols);
    u += bytes;
  }
  const rest = sqrt<f32>(product(x, x, cols));
  rotate(x, word(sketch, Q_TURNS), cols);
  const tables = x + bytes;
  const noise = sketchTables(x, cols, tables, tables + bytes);
  const deviations = real(sketch, Q_DEVIATIONS);
  store<f32>(work + WORK_CENTRE, along);
  store<f32>(work + WORK_STEP, step);
  store<f32>(work + WORK_REST, deviations * rest);
  store<f32>(work + WORK_ROUNDING, deviations * size);
  // Entries are rounded to whole steps: deviation 1 / sqrt(12) each.
  store<f32>(work + WORK_TABLES, deviations * sqrt<f32>(noise * (<f32>1 / 12)));
}

/** to[16] = products of the rows with centre and directions, and bias: what is known of <w, x> without the planes. */
export function known(pc: usize, sketch: usize, work: usize, tile: i32, to: usize): void {
  const directions = word(sketch, Q_DIRECTIONS);
  let at = word(sketch, Q_COEFFICIENTS) + <usize>tile * (SKETCH_TILE * directions);
  let a = i32x4.splat(0), b = a, c = a, d = a;
  for (let code = work + WORK_CODES, end = code + directions * 2; code < end; code += 4) {
    const pair = v128.load32_splat(code);
    a = i32x4.add(a, i32x4.dot_i16x8_s(v128.load8x8_s(at), pair));
    b = i32x4.add(b, i32x4.dot_i16x8_s(v128.load8x8_s(at, 8), pair));
    c = i32x4.add(c, i32x4.dot_i16x8_s(v128.load8x8_s(at, 16), pair));
    d = i32x4.add(d, i32x4.dot_i16x8_s(v128.load8x8_s(at, 24), pair));
    at += 32;
  }
  v128.store(to, a);
  v128.store(to, b, 16);
  v128.store(to, c, 32);
  v128.store(to, d, 48);
  const parameters = word(sketch, Q_PARAMETERS) + <usize>tile * (SKETCH_PARAMETERS * SKETCH_TILE * 4);
  const along = v128.load32_splat(work + WORK_CENTRE), step = v128.load32_splat(work + WORK_STEP);
  const bias = word(pc, M_BIAS);
  for (let i: usize = 0; i < 64; i += 16) {
    const codes = f32x4.mul(f32x4.convert_i32x4_s(v128.load(to + i)), step);
    let v = f32x4.mul(v128.load(parameters + Y_CENTRE * 64 + i), along);
    v = f32x4.add(v, f32x4.mul(codes, v128.load(parameters + Y_STEP * 64 + i)));
    if (bias != 0) v = f32x4.add(v, biasOf(bias, tile, i, number(pc, M_ROWS)));
    v128.store(to + i, v);
  }
}

/** The bias is padded to four rows only. */
// @ts-ignore: decorator
@inline
function biasOf(bias: usize, tile: i32, offset: usize, rows: i32): v128 {
  const row = tile * SKETCH_TILE + <i32>(offset >> 2);
  return row < rows ? v128.load(bias + (<usize>row << 2)) : f32x4.splat(0);
}

/** Notes every estimate of 16 rows and offers the promising ones. */
function estimate(pc: usize, sketch: usize, work: usize, tile: i32, picks: usize, capacity: i32): void {
  const cols = number(pc, M_COLS), tables = work + WORK_VECTOR + (<usize>cols << 2);
  const sums = work + WORK_SUMS, base = work + WORK_OTHER_SUMS;
  planeSums(word(sketch, Q_PLANE) + <usize>tile * (2 * <usize>cols), tables, tables + (<usize>cols << 2), cols, sums);
  known(pc, sketch, work, tile, base);
  const scales = word(sketch, Q_PARAMETERS) + <usize>tile * (SKETCH_PARAMETERS * SKETCH_TILE * 4) + Y_SCALE * 64;
  const estimates = word(sketch, Q_ESTIMATES) + <usize>tile * 64;
  const rows = number(pc, M_ROWS);
  let floor = listFloor(picks, capacity);
  for (let i: usize = 0; i < 64; i += 16) {
    const v = f32x4.add(v128.load(base + i), f32x4.mul(v128.load(sums + i), v128.load(scales + i)));
    v128.store(estimates + i, v);
    if (v128.any_true(f32x4.gt(v, f32x4.splat(floor)))) {
      for (let lane: usize = 0; lane < 4; lane++) {
        const value = load<f32>(estimates + i + (lane << 2));
        const row = tile * SKETCH_TILE + <i32>((i >> 2) + lane);
        if (value > floor && row < rows) {
          offer(picks, capacity, value, row);
          floor = listFloor(picks, capacity);
        }
      }
    }
  }
}

export function sketchEstimate(pc: usize, thread: i32, threads: i32): void {
  const wanted = load<i32>(CTRL_SHORTLIST);
  if (wanted == 0) return;
  const sketch = word(pc, M_SKETCH), tiles = (number(pc, M_ROWS) + SKETCH_TILE - 1) / SKETCH_TILE;
  const work = word(sketch, Q_WORK) + <usize>thread * word(sketch, Q_WORK_BYTES);
  const picks = word(sketch, Q_LISTS) + <usize>thread * word(sketch, Q_LIST_BYTES);
  const results = picks + LIST_BYTES, capacity = max(wanted, SKETCH_PICKS);
  prepare(pc, sketch, work);
  store<i32>(picks, 0);
  for (let first = thread * SKETCH_DEAL; first < tiles; first += threads * SKETCH_DEAL) {
    const end = min(first + SKETCH_DEAL, tiles);
    for (let tile = first; tile < end; tile++) estimate(pc, sketch, work, tile, picks, capacity);
  }
  store<i64>(results, 0);
  const estimates = word(sketch, Q_ESTIMATES);
  for (let i = 0, count = load<i32>(picks); i < count; i++) {
    const row = load<i32>(picks + LIST_HEAD_BYTES + (<usize>i << 3), 4);
    // It has been dealt with.
    store<f32>(estimates + (<usize>row << 2), -Infinity);
    rescore(pc, work, results, wanted, row);
  }
  settle(pc, work, results, wanted);
}
