/** Dense products and the lookup in a dense embedding as instructions. */
import {
  DENSE_COL_PAD,
  M_BIAS,
  M_COLS,
  M_DTYPE,
  M_FIRST_ROW,
  M_HEAD_ONLY,
  M_ROWS,
  M_ROW_BYTES,
  M_ROW_SCALES,
  M_WEIGHTS,
  M_WIDTH,
  OP_DENSE,
  OP_EMBED,
  OP_POSITIONS,
  W_DST,
  W_DST_STRIDE,
} from "../../abi.js";
import { pad, type PlacedDense } from "../../weights/place.js";
import { strideOf, type Operand, type Value } from "../draft.js";
import type { Emitter } from "../emitter.js";
import { between } from "./rows.js";

/** @param headOnly only for the tokens whose logits are asked for */
export function emitDense(
  emitter: Emitter,
  x: Value,
  matrix: PlacedDense,
  y: Value,
  headOnly: boolean,
): void {
  emitter.emit(OP_DENSE, [x], [y], {
    ...between(x, y),
    ...matrixOperands(matrix),
    [M_HEAD_ONLY]: headOnly ? 1 : 0,
  });
}

export function emitEmbedding(emitter: Emitter, table: PlacedDense): Value {
  const y = emitter.rows(table.cols);
  emitter.emit(OP_EMBED, [], [y], { [W_DST]: y, [W_DST_STRIDE]: strideOf(y), ...matrixOperands(table) });
  return y;
}

/** x plus the row of each token's position. @param offset row of position 0 */
export function emitPositions(emitter: Emitter, x: Value, table: PlacedDense, offset: number): Value {
  const y = emitter.like(x);
  emitter.emit(OP_POSITIONS, [x], [y], {
    ...between(x, y),
    ...matrixOperands(table),
    [M_FIRST_ROW]: offset,
  });
  return y;
}

export function matrixOperands(matrix: PlacedDense): Record<number, Operand> {
  return {
    [M_WEIGHTS]: matrix.weights,
    [M_DTYPE]: matrix.dtype,
    [M_ROWS]: matrix.rows,
    [M_COLS]: pad(matrix.cols, DENSE_COL_PAD),
    [M_ROW_BYTES]: matrix.rowBytes,
    [M_ROW_SCALES]: matrix.rowScales,
    [M_BIAS]: matrix.bias,
    [M_WIDTH]: matrix.cols,
  };
}
