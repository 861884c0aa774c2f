// A sketch of a matrix W [rows, cols]: enough of every row w to say within which bounds <w, x> lies, at a bit or two a weight.
//
//   <w, x> = <w, centre> <centre, x> + sum_k <w, u_k> <u_k, x> + <v, y>
//
// centre is the mean direction of the rows (of no use for telling them apart), u_k are directions in which x is known to be
// large, v is w without the centre, y is x without centre and u_k: a small rest of x. Products with centre and u_k are stored.
// Of v its signs are kept, and of a second plane whether it is large, after a random rotation that y undergoes as well; q are
// the signs (or levels +-1, +-3), and <v, y> ~ s <q, y> with s = |v|^2 / <q, v>: then the error v - s q is at right angles to v,
// and for a random rotation its product with y is as good as normally distributed, with deviation |v - s q| |y| / sqrt(cols)
// (RaBitQ, Gao and Long, SIGMOD 2024). What may still be among the largest is computed in full by sketch-rescore.ts.
import {
  DTYPE_I2,
  M_COLS,
  M_DTYPE,
  M_ROWS,
  M_ROW_BYTES,
  M_ROW_SCALES,
  M_SKETCH,
  M_WEIGHTS,
  M_WIDTH,
  Q_BASIS,
  Q_COEFFICIENTS,
  Q_DAMAGED,
  Q_DIRECTIONS,
  Q_PARAMETERS,
  Q_PLANE,
  Q_PLANES,
  Q_SECOND_PLANE,
  Q_TURNS,
  Q_WORK,
  Q_WORK_BYTES,
  SKETCH_DEAL,
  SKETCH_PARAMETERS,
  SKETCH_TILE,
  WORK_PRODUCTS,
  WORK_VECTOR,
  Y_CENTRE,
  Y_DEVIATION,
  Y_DEVIATION_BOTH,
  Y_ROUNDING,
  Y_SCALE,
  Y_SCALE_BOTH,
  Y_STEP,
} from "../src/abi";
import { dot4x2, widen } from "./dense";
import { rotate } from "./rotate";
import { madd, sum } from "./simd";
import { number, word } from "./words";

/** Four levels of even spacing lose least of a normal variable when the spacing is this many deviations. */
const SPACING: f32 = 0.9957;
/** Of uniform rounding: 1 / sqrt(12). */
const ROUNDING: f32 = 0.2886751;
/** Deviation of float rounding in an estimate or in a product, of |w| |x|: some 2^-24 a term, and terms in the thousands. */
const FLOAT_ROUNDING: f32 = 2e-6;

/** <x, y> in four lanes of multiply-adds. */
export function product(x: usize, y: usize, cols: i32): f32 {
  let total = f32x4.splat(0);
  for (const end = x + (<usize>cols << 2); x < end; x += 16) {
    total = madd(v128.load(x), v128.load(y), total);
    y += 16;
  }
  return sum(total);
}

/** x -= factor * y */
export function subtract(x: usize, factor: f32, y: usize, cols: i32): void {
  const factors = f32x4.splat(factor);
  for (const end = x + (<usize>cols << 2); x < end; x += 16) {
    v128.store(x, f32x4.sub(v128.load(x), f32x4.mul(factors, v128.load(y))));
    y += 16;
  }
}

/** Products of the directions with two rows, one after the other, to `to`: pairs of four for each row. */
function directionProducts(sketch: usize, rows: usize, cols: i32, to: usize): void {
  const directions = number(sketch, Q_DIRECTIONS), bytes = <usize>cols << 2;
  let u = word(sketch, Q_BASIS) + bytes;
  for (let k = 0; k < directions; k += 4) {
    dot4x2(u, bytes, rows, rows + bytes, cols, to + (<usize>k << 3));
    u += 4 * bytes;
  }
}

/** Rounds a row's products with the directions to 8 bits; returns their step. `at`: the row's place in the first pair. */
function coefficients(sketch: usize, products: usize, at: usize): f32 {
  const directions = number(sketch, Q_DIRECTIONS);
  let largest = f32x4.splat(0);
  for (let k = 0; k < directions; k += 4) {
    largest = f32x4.max(largest, f32x4.abs(v128.load(products + (<usize>k << 3))));
  }
  const most = max(
    max(f32x4.extract_lane(largest, 0), f32x4.extract_lane(largest, 1)),
    max(f32x4.extract_lane(largest, 2), f32x4.extract_lane(largest, 3)),
  );
  const factor: f32 = most > 1e-30 ? 127 / most : 0;
  for (let k = 0; k < directions; k++) {
    const product = load<f32>(products + (<usize>(k & ~3) << 3) + (<usize>(k & 3) << 2));
    const code = <i32>nearest<f32>(product * factor);
    store<i8>(at + <usize>(k >> 1) * (2 * SKETCH_TILE) + <usize>(k & 1), <i8>code);
  }
  return most > 1e-30 ? most / 127 : 0;
}

/** Packs one row; `lane` is its byte in every vector of the tile. */
function pack(v: usize, cols: i32, spacing: f32, plane: usize, second: usize): void {
  const limit = f32x4.splat(spacing);
  for (const end = v + (<usize>cols << 2); v < end; v += 32) {
    const a = v128.load(v), b = v128.load(v, 16);
    const low = i32x4.bitmask(a), high = i32x4.bitmask(b);
    store<u8>(plane, <u8>(low | (high << 4)));
    plane += 16;
    if (second != 0) {
      const lowLarge = i32x4.bitmask(f32x4.ge(f32x4.abs(a), limit));
      const highLarge = i32x4.bitmask(f32x4.ge(f32x4.abs(b), limit));
      // Large and plus, or small and minus, is a plus in the second plane.
      store<u8>(second, <u8>((low ^ lowLarge ^ 15) | ((high ^ highLarge ^ 15) << 4)));
      second += 16;
    }
  }
}

// @ts-ignore: decorator
@inline
function deviation(scale: f32, squares: f32, power: f32, cols: i32): f32 {
  return sqrt<f32>(max<f32>(scale * scale * squares - power, 0) / <f32>cols);
}

/** A row as numbers. */
function readRow(pc: usize, row: i32, to: usize): void {
  const cols = number(pc, M_COLS), scales = word(pc, M_ROW_SCALES), dtype = number(pc, M_DTYPE);
  widen(dtype, word(pc, M_WEIGHTS) + <usize>row * word(pc, M_ROW_BYTES), to, cols);
  if (dtype == DTYPE_I2) memory.fill(to + (word(pc, M_WIDTH) << 2), 0, (<usize>cols - word(pc, M_WIDTH)) << 2);
  if (scales == 0) return;
  const scale = v128.load32_splat(scales + (<usize>row << 2));
  for (const end = to + (<usize>cols << 2); to < end; to += 16) v128.store(to, f32x4.mul(v128.load(to), scale));
}

/** @param v the row, changed */
function sketchRow(pc: usize, sketch: usize, row: i32, v: usize, products: usize): void {
  const cols = number(pc, M_COLS), bytes = <usize>cols << 2;
  const tile = <usize>(row / SKETCH_TILE), r = row % SKETCH_TILE;
  const parameters = word(sketch, Q_PARAMETERS) + (tile * SKETCH_PARAMETERS * SKETCH_TILE + <usize>r) * 4;
  const lane = <usize>(r < 8 ? 2 * r : 2 * r - 15);
  const codes = word(sketch, Q_COEFFICIENTS) + tile * (SKETCH_TILE * word(sketch, Q_DIRECTIONS)) + <usize>(2 * r);
  const step = coefficients(sketch, products, codes);
  const centre = word(sketch, Q_BASIS), along = product(centre, v, cols);
  subtract(v, along, centre, cols);
  rotate(v, word(sketch, Q_TURNS), cols);

  const power = product(v, v, cols), norm = sqrt<f32>(along * along + power);
  const spacing = SPACING * sqrt<f32>(power / <f32>cols);
  const limit = f32x4.splat(spacing), one = f32x4.splat(1), three = f32x4.splat(3);
  let size = f32x4.splat(0), levels = f32x4.splat(0), large = 0;
  for (let i: usize = 0; i < bytes; i += 16) {
    const a = f32x4.abs(v128.load(v + i)), big = f32x4.ge(a, limit);
    size = f32x4.add(size, a);
    levels = f32x4.add(levels, f32x4.mul(a, v128.bitselect(three, one, big)));
    large += popcnt(i32x4.bitmask(big));
  }
  const some = power > 1e-30;
  const scale: f32 = some ? power / sum(size) : 0, both: f32 = some ? power / sum(levels) : 0;
  const second = number(sketch, Q_PLANES) == 2 ? word(sketch, Q_SECOND_PLANE) : 0;
  const at = tile * (2 * <usize>cols) + lane;
  pack(v, cols, spacing, word(sketch, Q_PLANE) + at, second == 0 ? 0 : second + at);

  store<f32>(parameters + Y_CENTRE * 64, along);
  store<f32>(parameters + Y_STEP * 64, step);
  store<f32>(parameters + Y_SCALE * 64, scale);
  store<f32>(parameters + Y_DEVIATION * 64, some ? deviation(scale, <f32>cols, power, cols) : 0);
  store<f32>(parameters + Y_SCALE_BOTH * 64, both);
  store<f32>(parameters + Y_DEVIATION_BOTH * 64, some ? deviation(both, <f32>(cols + 8 * large), power, cols) : 0);
  store<f32>(parameters + Y_ROUNDING * 64, step * ROUNDING + norm * FLOAT_ROUNDING);
  if (!(norm < 1e18)) store<i32>(sketch + (Q_DAMAGED << 2), 1);
}

export function sketchRows(pc: usize, thread: i32, threads: i32): void {
  const sketch = word(pc, M_SKETCH), rows = number(pc, M_ROWS);
  const work = word(sketch, Q_WORK) + <usize>thread * word(sketch, Q_WORK_BYTES);
  for (let first = thread * (SKETCH_DEAL * SKETCH_TILE); first < rows; first += threads * (SKETCH_DEAL * SKETCH_TILE)) {
    for (let row = first, end = min(first + SKETCH_DEAL * SKETCH_TILE, rows); row < end; row += 2) {
      // An odd row at the end is done twice.
      const next = min(row + 1, end - 1), a = work + WORK_VECTOR, b = a + (word(pc, M_COLS) << 2);
      readRow(pc, row, a);
      readRow(pc, next, b);
      directionProducts(sketch, a, number(pc, M_COLS), work + WORK_PRODUCTS);
      sketchRow(pc, sketch, row, a, work + WORK_PRODUCTS);
      sketchRow(pc, sketch, next, b, work + WORK_PRODUCTS + 16);
    }
  }
}
