/** Twin of the making of a sketch, see assembly/sketch-rows.ts. */
import {
  M_COLS,
  M_DTYPE,
  M_ROWS,
  M_ROW_BYTES,
  M_ROW_SCALES,
  M_SKETCH,
  M_WEIGHTS,
  Q_BASIS,
  Q_COEFFICIENTS,
  Q_DAMAGED,
  Q_DIRECTIONS,
  Q_PARAMETERS,
  Q_PLANE,
  Q_PLANES,
  Q_SECOND_PLANE,
  Q_TURNS,
  SKETCH_PARAMETERS,
  SKETCH_TILE,
  Y_CENTRE,
  Y_DEVIATION,
  Y_DEVIATION_BOTH,
  Y_ROUNDING,
  Y_SCALE,
  Y_SCALE_BOTH,
  Y_STEP,
} from "../abi.js";
import { dot, nearest, sumLanes } from "./arithmetic.js";
import { readRow, widthOf } from "./dense.js";
import { floats, word, type MemoryViews } from "./memory.js";
import { rotate } from "./rotate.js";

const f = Math.fround;
const SPACING = f(0.9957);
const ROUNDING = f(0.2886751);
const FLOAT_ROUNDING = f(2e-6);
const TINY = f(1e-30);

export interface Sketch {
  readonly at: number;
  readonly cols: number;
  readonly rows: number;
  readonly directions: number;
  /** [1 + directions][cols] */
  readonly basis: readonly Float32Array[];
  readonly turns: Float32Array;
}

export function readSketch(m: MemoryViews, pc: number): Sketch {
  const at = word(m, pc, M_SKETCH);
  const cols = word(m, pc, M_COLS);
  const directions = word(m, at, Q_DIRECTIONS);
  const basis = floats(m, at, Q_BASIS);
  const turns = floats(m, at, Q_TURNS);
  return {
    at,
    cols,
    rows: word(m, pc, M_ROWS),
    directions,
    basis: Array.from({ length: directions + 1 }, (_, k) =>
      m.f32.subarray(basis + k * cols, basis + (k + 1) * cols),
    ),
    turns: m.f32.subarray(turns, turns + 4 * cols),
  };
}

/** x -= factor * y */
export function subtract(x: Float32Array, factor: number, y: Float32Array): void {
  for (let i = 0; i < x.length; i++) x[i] -= f(factor * y[i]);
}

export function sketchRows(m: MemoryViews, pc: number): void {
  const sketch = readSketch(m, pc);
  for (let row = 0; row < sketch.rows; row++) sketchRow(m, pc, sketch, row);
}

function sketchRow(m: MemoryViews, pc: number, sketch: Sketch, row: number): void {
  const { at, cols, directions, basis, turns } = sketch;
  const tile = Math.floor(row / SKETCH_TILE);
  const r = row % SKETCH_TILE;
  const stored = word(m, pc, M_WEIGHTS) + row * word(m, pc, M_ROW_BYTES);
  const v = readRow(m, word(m, pc, M_DTYPE), stored, cols)
    .slice()
    .fill(0, widthOf(m, pc));
  const scales = floats(m, pc, M_ROW_SCALES);
  if (scales) for (let i = 0; i < cols; i++) v[i] *= m.f32[scales + row];
  const product = (x: Float32Array, y: Float32Array): number => dot(m.fused, x, 0, y, 0, cols);

  const products = basis.slice(1).map((u) => product(u, v));
  const most = Math.max(0, ...products.map(Math.abs));
  const factor = most > TINY ? f(127 / most) : 0;
  const step = most > TINY ? f(most / 127) : 0;
  products.forEach((value, k) => {
    const pair = word(m, at, Q_COEFFICIENTS) + tile * SKETCH_TILE * directions + (k >> 1) * 2 * SKETCH_TILE;
    m.i8[pair + 2 * r + (k & 1)] = nearest(f(value * factor));
  });
  const along = product(basis[0], v);
  subtract(v, along, basis[0]);
  rotate(v, turns);

  const power = product(v, v);
  const norm = f(Math.sqrt(f(f(along * along) + power)));
  const spacing = f(SPACING * f(Math.sqrt(f(power / cols))));
  const size = new Float32Array(4);
  const levels = new Float32Array(4);
  let large = 0;
  for (let i = 0; i < cols; i++) {
    const a = Math.abs(v[i]);
    const big = a >= spacing;
    size[i % 4] += a;
    levels[i % 4] += f(a * (big ? 3 : 1));
    if (big) large++;
  }
  const some = power > TINY;
  const scaleBy = ([a, b, c, d]: Float32Array): number => (some ? f(power / sumLanes(a, b, c, d)) : 0);
  const deviation = (scale: number, squares: number): number =>
    some ? f(Math.sqrt(f(Math.max(f(f(f(scale * scale) * squares) - power), 0) / cols))) : 0;
  packPlanes(m, sketch, row, v, spacing);

  const parameters = floats(m, at, Q_PARAMETERS) + tile * SKETCH_PARAMETERS * SKETCH_TILE + r;
  const set = (which: number, value: number): void => {
    m.f32[parameters + which * SKETCH_TILE] = value;
  };
  set(Y_CENTRE, along);
  set(Y_STEP, step);
  set(Y_SCALE, scaleBy(size));
  set(Y_DEVIATION, deviation(scaleBy(size), cols));
  set(Y_SCALE_BOTH, scaleBy(levels));
  set(Y_DEVIATION_BOTH, deviation(scaleBy(levels), cols + 8 * large));
  set(Y_ROUNDING, f(f(step * ROUNDING) + f(norm * FLOAT_ROUNDING)));
  if (!(norm < 1e18)) m.u32[(at >>> 2) + Q_DAMAGED] = 1;
}

function packPlanes(m: MemoryViews, sketch: Sketch, row: number, v: Float32Array, spacing: number): void {
  const { at, cols } = sketch;
  const tile = Math.floor(row / SKETCH_TILE);
  const r = row % SKETCH_TILE;
  const lane = r < 8 ? 2 * r : 2 * r - 15;
  const signs = new Uint32Array(v.buffer, v.byteOffset, cols);
  for (let byte = 0; byte < cols / 8; byte++) {
    let [first, second] = [0, 0];
    for (let bit = 0; bit < 8; bit++) {
      const minus = signs[byte * 8 + bit] >>> 31;
      const big = Math.abs(v[byte * 8 + bit]) >= spacing ? 1 : 0;
      first |= minus << bit;
      second |= (minus ^ big ^ 1) << bit;
    }
    const place = tile * 2 * cols + byte * 16 + lane;
    m.u8[word(m, at, Q_PLANE) + place] = first;
    if (word(m, at, Q_PLANES) === 2) m.u8[word(m, at, Q_SECOND_PLANE) + place] = second;
  }
}
