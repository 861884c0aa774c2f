/**
 * Twins of the two halves of a shortlist, see assembly/sketch-estimate.ts and assembly/sketch-rescore.ts. Estimates, margins and
 * results equal the kernels' of one thread to the last bit; the lists are plain sorted arrays, kept here between the halves.
 */
import {
  CTRL_SHORTLIST,
  LIST_HEAD_BYTES,
  M_BIAS,
  M_DTYPE,
  M_ROW_BYTES,
  M_ROW_SCALES,
  M_WEIGHTS,
  Q_COEFFICIENTS,
  Q_DEVIATIONS,
  Q_ESTIMATES,
  Q_LISTS,
  Q_PARAMETERS,
  Q_PLANE,
  Q_PLANES,
  Q_SECOND_PLANE,
  Q_WORK,
  SHORTLIST_MAX,
  SKETCH_BLOCK,
  SKETCH_PARAMETERS,
  SKETCH_PICKS,
  SKETCH_TILE,
  WORK_CENTRE,
  WORK_CODES,
  WORK_REST,
  WORK_ROUNDING,
  WORK_STEP,
  WORK_TABLES,
  WORK_VECTOR,
  W_SRC,
  Y_CENTRE,
  Y_DEVIATION,
  Y_DEVIATION_BOTH,
  Y_ROUNDING,
  Y_SCALE,
  Y_SCALE_BOTH,
  Y_STEP,
} from "../abi.js";
import { dot, nearest } from "./arithmetic.js";
import { readRow } from "./dense.js";
import { control, floats, real, word, type MemoryViews } from "./memory.js";
import { rotate } from "./rotate.js";
import { readSketch, subtract, type Sketch } from "./sketch-rows.js";

const f = Math.fround;
const TINY = f(1e-30);
const BOTH_PLANES = f(2.236068);
/** Bytes of one list. */
const LIST_BYTES = LIST_HEAD_BYTES + SHORTLIST_MAX * 8;

interface Entry {
  readonly value: number;
  readonly row: number;
}

/** The best of the entries, best first. */
function best(entries: readonly Entry[], wanted: number): Entry[] {
  return [...entries].sort((a, b) => b.value - a.value || a.row - b.row).slice(0, wanted);
}

function writeList(m: MemoryViews, at: number, entries: readonly Entry[], rescored: number): void {
  m.i32[at >> 2] = entries.length;
  m.i32[(at >> 2) + 1] = rescored;
  entries.forEach(({ value, row }, i) => {
    m.f32[((at + LIST_HEAD_BYTES) >> 2) + 2 * i] = value;
    m.i32[((at + LIST_HEAD_BYTES) >> 2) + 2 * i + 1] = row;
  });
}

function readList(m: MemoryViews, at: number): Entry[] {
  const first = (at + LIST_HEAD_BYTES) >> 2;
  return Array.from({ length: m.i32[at >> 2] }, (_, i) => ({
    value: m.f32[first + 2 * i],
    row: m.i32[first + 2 * i + 1],
  }));
}

/** Table entries of x in steps of its block: [cols / 4][16]; and the steps. */
function tablesOf(x: Float32Array): { entries: Uint8Array; steps: Float32Array; noise: number } {
  const entries = new Uint8Array(x.length * 4);
  const steps = new Float32Array(Math.ceil(x.length / SKETCH_BLOCK));
  let noise = 0;
  for (let b = 0; b < steps.length; b++) {
    const block = x.subarray(b * SKETCH_BLOCK, (b + 1) * SKETCH_BLOCK);
    const abs = block.map(Math.abs);
    let largest = 0;
    for (let i = 0; i < abs.length; i += 4) {
      largest = Math.max(largest, f(f(abs[i] + abs[i + 1]) + f(abs[i + 2] + abs[i + 3])));
    }
    const factor = largest > TINY ? f(63 / largest) : 0;
    steps[b] = largest > TINY ? f(largest / 63) : 0;
    for (let i = 0; i < block.length; i += 4) {
      const [p, q, r, s] = block.subarray(i, i + 4).map((value) => value * factor);
      for (let code = 0; code < 16; code++) {
        const sign = (bit: number): number => ((code >> bit) & 1 ? -1 : 1);
        const sum = f(f(sign(0) * p + sign(1) * q) + f(sign(2) * r + sign(3) * s));
        entries[(b * SKETCH_BLOCK + i) * 4 + code] = f(sum + 12582976) - 12582912;
      }
    }
    noise = f(noise + f(f(steps[b] * steps[b]) * (block.length / 4)));
  }
  return { entries, steps, noise };
}

/** What the second half needs of x beside the numbers in work memory. */
interface Prepared {
  readonly entries: Uint8Array;
  readonly steps: Float32Array;
}

function prepare(m: MemoryViews, pc: number, sketch: Sketch): Prepared {
  const { at, cols, basis, turns } = sketch;
  const work = word(m, at, Q_WORK);
  const set = (offset: number, value: number): void => {
    m.f32[(work + offset) >> 2] = value;
  };
  const product = (a: Float32Array, b: Float32Array): number => dot(m.fused, a, 0, b, 0, cols);
  const src = floats(m, pc, W_SRC);
  const x = m.f32.slice(src, src + cols);
  const size = f(Math.sqrt(product(x, x)));
  const along = product(basis[0], x);
  subtract(x, along, basis[0]);
  const products = basis.slice(1).map((u) => product(u, x));
  const most = Math.max(0, ...products.map(Math.abs));
  const factor = most > TINY ? f(32767 / most) : 0;
  const step = most > TINY ? f(most / 32767) : 0;
  products.forEach((value, k) => {
    const code = nearest(f(value * factor));
    m.u16[((work + WORK_CODES) >> 1) + k] = code;
    subtract(x, f(code * step), basis[k + 1]);
  });
  const rest = f(Math.sqrt(product(x, x)));
  rotate(x, turns);
  const { entries, steps, noise } = tablesOf(x);
  const tables = work + WORK_VECTOR + cols * 4;
  m.u8.set(entries, tables);
  m.f32.set(steps, (tables + cols * 4) >> 2);
  const deviations = real(m, at, Q_DEVIATIONS);
  set(WORK_CENTRE, along);
  set(WORK_STEP, step);
  set(WORK_REST, f(deviations * rest));
  set(WORK_ROUNDING, f(deviations * size));
  set(WORK_TABLES, f(deviations * f(Math.sqrt(f(noise * f(1 / 12))))));
  return { entries, steps };
}

function prepared(m: MemoryViews, sketch: Sketch): Prepared {
  const { at, cols } = sketch;
  const tables = word(m, at, Q_WORK) + WORK_VECTOR + cols * 4;
  const steps = (tables + cols * 4) >> 2;
  return {
    entries: m.u8.subarray(tables, tables + cols * 4),
    steps: m.f32.subarray(steps, steps + Math.ceil(cols / SKETCH_BLOCK)),
  };
}

/** Signs of a row times x. */
function planeSum(m: MemoryViews, plane: number, sketch: Sketch, row: number, x: Prepared): number {
  const { cols } = sketch;
  const r = row % SKETCH_TILE;
  const lane = r < 8 ? 2 * r : 2 * r - 15;
  const first = plane + Math.floor(row / SKETCH_TILE) * 2 * cols + lane;
  let total = 0;
  for (let b = 0; b < x.steps.length; b++) {
    const end = Math.min(cols, (b + 1) * SKETCH_BLOCK);
    let sum = 0;
    for (let i = b * SKETCH_BLOCK; i < end; i += 8) {
      const codes = m.u8[first + i * 2];
      sum += x.entries[i * 4 + (codes & 15)] + x.entries[(i + 4) * 4 + (codes >> 4)] - 128;
    }
    total = f(total + f(sum * x.steps[b]));
  }
  return total;
}

function parameter(m: MemoryViews, sketch: Sketch, row: number, which: number): number {
  const tile = Math.floor(row / SKETCH_TILE);
  return m.f32[
    floats(m, sketch.at, Q_PARAMETERS) +
      (tile * SKETCH_PARAMETERS + which) * SKETCH_TILE +
      (row % SKETCH_TILE)
  ];
}

/** What is known of <w, x> without the planes. */
function known(m: MemoryViews, pc: number, sketch: Sketch, row: number): number {
  const { at, directions } = sketch;
  const work = word(m, at, Q_WORK);
  const tile = Math.floor(row / SKETCH_TILE);
  const first = word(m, at, Q_COEFFICIENTS) + tile * SKETCH_TILE * directions + 2 * (row % SKETCH_TILE);
  let sum = 0;
  for (let k = 0; k < directions; k++) {
    const code = (m.u16[((work + WORK_CODES) >> 1) + k] << 16) >> 16;
    sum += m.i8[first + (k >> 1) * 2 * SKETCH_TILE + (k & 1)] * code;
  }
  const codes = f(f(sum) * m.f32[(work + WORK_STEP) >> 2]);
  let value = f(parameter(m, sketch, row, Y_CENTRE) * m.f32[(work + WORK_CENTRE) >> 2]);
  value = f(value + f(codes * parameter(m, sketch, row, Y_STEP)));
  const bias = floats(m, pc, M_BIAS);
  return bias ? f(value + m.f32[bias + row]) : value;
}

/** The product itself, as the whole product gives it. */
function exact(m: MemoryViews, pc: number, sketch: Sketch, row: number): number {
  const [scales, bias] = [M_ROW_SCALES, M_BIAS].map((index) => floats(m, pc, index));
  const at = word(m, pc, M_WEIGHTS) + row * word(m, pc, M_ROW_BYTES);
  const weights = readRow(m, word(m, pc, M_DTYPE), at, sketch.cols);
  let sum = dot(m.fused, weights, 0, m.f32, floats(m, pc, W_SRC), sketch.cols);
  if (scales) sum = f(sum * m.f32[scales + row]);
  return bias ? f(sum + m.f32[bias + row]) : sum;
}

export function sketchEstimate(m: MemoryViews, pc: number): void {
  const wanted = control(m, CTRL_SHORTLIST);
  if (wanted === 0) return;
  const sketch = readSketch(m, pc);
  const x = prepare(m, pc, sketch);
  const estimates = floats(m, sketch.at, Q_ESTIMATES);
  const entries: Entry[] = [];
  for (let row = 0; row < sketch.rows; row++) {
    const sum = planeSum(m, word(m, sketch.at, Q_PLANE), sketch, row, x);
    const value = f(known(m, pc, sketch, row) + f(sum * parameter(m, sketch, row, Y_SCALE)));
    m.f32[estimates + row] = value;
    if (value > -Infinity) entries.push({ value, row });
  }
  const picks = best(entries, Math.max(wanted, SKETCH_PICKS));
  for (const { row } of picks) m.f32[estimates + row] = -Infinity;
  const results = picks.map(({ row }) => ({ value: exact(m, pc, sketch, row), row }));
  const first = word(m, sketch.at, Q_LISTS) + LIST_BYTES;
  writeList(m, first, best(results.filter(isNumber), wanted), picks.length);
}

const isNumber = ({ value }: Entry): boolean => !Number.isNaN(value);

export function sketchRescore(m: MemoryViews, pc: number): void {
  const wanted = control(m, CTRL_SHORTLIST);
  if (wanted === 0) return;
  const sketch = readSketch(m, pc);
  const x = prepared(m, sketch);
  const work = word(m, sketch.at, Q_WORK);
  const first = word(m, sketch.at, Q_LISTS) + LIST_BYTES;
  let results = readList(m, first);
  let rescored = m.i32[(first >> 2) + 1];
  const floor = results.length < wanted ? -Infinity : results[wanted - 1].value;
  const factor = (offset: number): number => m.f32[(work + offset) >> 2];
  /** How far the truth may lie above an estimate. */
  const margin = (row: number, deviation: number, scale: number): number =>
    f(
      f(parameter(m, sketch, row, deviation) * factor(WORK_REST)) +
        f(f(scale * factor(WORK_TABLES)) + f(parameter(m, sketch, row, Y_ROUNDING) * factor(WORK_ROUNDING))),
    );
  for (let row = 0; row < sketch.rows; row++) {
    const estimate = m.f32[floats(m, sketch.at, Q_ESTIMATES) + row];
    if (!(estimate > -Infinity)) continue;
    const scale = parameter(m, sketch, row, Y_SCALE);
    if (!(f(estimate + margin(row, Y_DEVIATION, scale)) >= floor)) continue;
    if (word(m, sketch.at, Q_PLANES) === 2) {
      const from = known(m, pc, sketch, row);
      const both = parameter(m, sketch, row, Y_SCALE_BOTH);
      const plane = scale > 0 ? f(f(estimate - from) / scale) : 0;
      const second = planeSum(m, word(m, sketch.at, Q_SECOND_PLANE), sketch, row, x);
      const better = f(from + f(f(f(plane + plane) + second) * both));
      if (!(f(better + margin(row, Y_DEVIATION_BOTH, f(both * BOTH_PLANES))) >= floor)) continue;
    }
    results.push({ value: exact(m, pc, sketch, row), row });
    rescored++;
  }
  results = best(results.filter(isNumber), wanted);
  writeList(m, first + LIST_BYTES, results, rescored);
}
