// Exact products of single rows, four at a time as they come: the same bits as the whole product gives.
import {
  M_BIAS,
  M_COLS,
  M_DTYPE,
  M_ROW_BYTES,
  M_ROW_SCALES,
  M_WEIGHTS,
  WORK_WAITING,
  WORK_WAITING_COUNT,
  W_SRC,
} from "../src/abi";
import { fourRows } from "./dense-rows";
import { offer } from "./sketch-list";
import { number, word } from "./words";

/** Puts a row in line. The line must be empty to begin with (see `settle`). */
export function rescore(pc: usize, work: usize, results: usize, wanted: i32, row: i32): void {
  const waiting = load<i32>(work + WORK_WAITING_COUNT);
  store<i32>(work + WORK_WAITING + (<usize>waiting << 2), row);
  store<i32>(work + WORK_WAITING_COUNT, waiting + 1);
  if (waiting == 3) settle(pc, work, results, wanted);
}

// @ts-ignore: decorator
@inline
function rowAt(pc: usize, line: usize, index: i32): usize {
  return word(pc, M_WEIGHTS) + load<usize>(line + (<usize>index << 2)) * word(pc, M_ROW_BYTES);
}

/** Computes the rows in line and offers them. */
export function settle(pc: usize, work: usize, results: usize, wanted: i32): void {
  const count = load<i32>(work + WORK_WAITING_COUNT), line = work + WORK_WAITING;
  store<i32>(work + WORK_WAITING_COUNT, 0);
  if (count == 0) return;
  for (let i = count; i < 4; i++) store<i32>(line + (<usize>i << 2), load<i32>(line));
  const sums = fourRows(
    number(pc, M_DTYPE),
    rowAt(pc, line, 0),
    rowAt(pc, line, 1),
    rowAt(pc, line, 2),
    rowAt(pc, line, 3),
    word(pc, W_SRC),
    number(pc, M_COLS),
  );
  const products = work + WORK_WAITING;
  const scales = word(pc, M_ROW_SCALES), bias = word(pc, M_BIAS);
  let value = f32x4.extract_lane(sums, 0);
  for (let i = 0; i < count; i++) {
    const row = load<usize>(products + (<usize>i << 2));
    if (i == 1) value = f32x4.extract_lane(sums, 1);
    else if (i == 2) value = f32x4.extract_lane(sums, 2);
    else if (i == 3) value = f32x4.extract_lane(sums, 3);
    if (scales != 0) value *= load<f32>(scales + (row << 2));
    if (bias != 0) value += load<f32>(bias + (row << 2));
    if (value == value) offer(results, wanted, value, <i32>row);
  }
  store<i32>(results, load<i32>(results, 4) + count, 4);
}
