// Second half of a shortlist: every row whose estimate could be wrong by enough to be wanted is looked at again, by its second
// plane where there is one, and then in full. The more rows that takes the slower it is; it ends at the whole product.
import {
  CTRL_SHORTLIST,
  LIST_HEAD_BYTES,
  M_COLS,
  M_ROWS,
  M_SKETCH,
  Q_ESTIMATES,
  Q_LISTS,
  Q_LIST_BYTES,
  Q_PARAMETERS,
  Q_PLANES,
  Q_SECOND_PLANE,
  Q_WORK,
  Q_WORK_BYTES,
  SKETCH_DEAL,
  SKETCH_PARAMETERS,
  SKETCH_TILE,
  WORK_OTHER_SUMS,
  WORK_REST,
  WORK_ROUNDING,
  WORK_SUMS,
  WORK_TABLES,
  WORK_VECTOR,
  Y_DEVIATION,
  Y_DEVIATION_BOTH,
  Y_ROUNDING,
  Y_SCALE,
  Y_SCALE_BOTH,
} from "../src/abi";
import { rescore, settle } from "./rescore";
import { known, LIST_BYTES } from "./sketch-estimate";
import { listFloor, offer } from "./sketch-list";
import { planeSums } from "./sketch-planes";
import { number, word } from "./words";

/** Levels 2 p + q of two planes: rounding of both, sqrt(2^2 + 1). */
const BOTH_PLANES: f32 = 2.236068;

/** What no row of the shortlist can be below: the least of as many first results of all threads as are wanted. */
function commonFloor(sketch: usize, room: usize, threads: i32, wanted: i32): f32 {
  store<i64>(room, 0);
  for (let thread = 0; thread < threads; thread++) {
    const list = word(sketch, Q_LISTS) + <usize>thread * word(sketch, Q_LIST_BYTES) + LIST_BYTES;
    for (let i = 0, count = load<i32>(list); i < count; i++) {
      const at = list + LIST_HEAD_BYTES + (<usize>i << 3);
      offer(room, wanted, load<f32>(at), load<i32>(at, 4));
    }
  }
  return listFloor(room, wanted);
}

// @ts-ignore: decorator
@inline
function margin(work: usize, parameters: usize, deviation: usize, scale: v128): v128 {
  return f32x4.add(
    f32x4.mul(v128.load(parameters + deviation), v128.load32_splat(work + WORK_REST)),
    f32x4.add(
      f32x4.mul(scale, v128.load32_splat(work + WORK_TABLES)),
      f32x4.mul(v128.load(parameters + Y_ROUNDING * 64), v128.load32_splat(work + WORK_ROUNDING)),
    ),
  );
}

/** Better estimates of 16 rows from both planes, in place of the sums of the second. */
function refine(pc: usize, sketch: usize, work: usize, tile: i32, estimates: usize, parameters: usize): void {
  const cols = number(pc, M_COLS), tables = work + WORK_VECTOR + (<usize>cols << 2);
  const sums = work + WORK_SUMS, base = work + WORK_OTHER_SUMS;
  planeSums(word(sketch, Q_SECOND_PLANE) + <usize>tile * (2 * <usize>cols), tables, tables + (<usize>cols << 2), cols, sums);
  known(pc, sketch, work, tile, base);
  for (let i: usize = 0; i < 64; i += 16) {
    const scale = v128.load(parameters + Y_SCALE * 64 + i), from = v128.load(base + i);
    // Zero rows have no scale and no error either.
    const first = v128.and(
      f32x4.div(f32x4.sub(v128.load(estimates + i), from), scale),
      f32x4.gt(scale, f32x4.splat(0)),
    );
    const both = f32x4.add(f32x4.add(first, first), v128.load(sums + i));
    v128.store(sums + i, f32x4.add(from, f32x4.mul(both, v128.load(parameters + Y_SCALE_BOTH * 64 + i))));
  }
}

export function sketchRescore(pc: usize, thread: i32, threads: i32): void {
  const wanted = load<i32>(CTRL_SHORTLIST);
  if (wanted == 0) return;
  const sketch = word(pc, M_SKETCH), rows = number(pc, M_ROWS), tiles = (rows + SKETCH_TILE - 1) / SKETCH_TILE;
  const work = word(sketch, Q_WORK) + <usize>thread * word(sketch, Q_WORK_BYTES), planes = number(sketch, Q_PLANES);
  const picks = word(sketch, Q_LISTS) + <usize>thread * word(sketch, Q_LIST_BYTES);
  const first = picks + LIST_BYTES, results = first + LIST_BYTES;
  const common = commonFloor(sketch, picks, threads, wanted);
  // Other threads read the first results, so the final ones are a list of their own.
  memory.copy(results, first, LIST_HEAD_BYTES + (<usize>load<i32>(first) << 3));
  let floor = max(common, listFloor(results, wanted));
  for (let from = thread * SKETCH_DEAL; from < tiles; from += threads * SKETCH_DEAL) {
    for (let tile = from, end = min(from + SKETCH_DEAL, tiles); tile < end; tile++) {
      const estimates = word(sketch, Q_ESTIMATES) + <usize>tile * 64;
      const parameters = word(sketch, Q_PARAMETERS) + <usize>tile * (SKETCH_PARAMETERS * SKETCH_TILE * 4);
      let hits = reach(work, parameters, estimates, Y_DEVIATION * 64, Y_SCALE * 64, 1, floor);
      if (hits == 0) continue;
      if (planes == 2) {
        refine(pc, sketch, work, tile, estimates, parameters);
        hits &= reach(work, parameters, work + WORK_SUMS, Y_DEVIATION_BOTH * 64, Y_SCALE_BOTH * 64, BOTH_PLANES, floor);
      }
      for (; hits != 0; hits &= hits - 1) {
        const row = tile * SKETCH_TILE + ctz(hits);
        if (row < rows) rescore(pc, work, results, wanted, row);
      }
      floor = max(floor, listFloor(results, wanted));
    }
  }
  settle(pc, work, results, wanted);
}

/** Bit r: the r-th of 16 estimates may be as low as the truth is `floor`. */
// @ts-ignore: decorator
@inline
function reach(work: usize, parameters: usize, estimates: usize, deviation: usize, scale: usize, planes: f32, floor: f32): i32 {
  let hits = 0;
  const least = f32x4.splat(floor), factor = f32x4.splat(planes);
  for (let i: usize = 0; i < 64; i += 16) {
    const scaled = f32x4.mul(v128.load(parameters + scale + i), factor);
    const most = f32x4.add(v128.load(estimates + i), margin(work, parameters + i, deviation, scaled));
    // Minus infinity marks rows that have been rescored.
    const open = f32x4.gt(v128.load(estimates + i), f32x4.splat(-Infinity));
    hits |= i32x4.bitmask(v128.and(f32x4.ge(most, least), open)) << <i32>(i >> 2);
  }
  return hits;
}
