/** The head: logits of the tokens that are asked for, or only the largest of them, found with the help of a sketch. */
import {
  G_FACTOR,
  G_HEAD_ONLY,
  M_SKETCH,
  OP_SKETCH_ESTIMATE,
  OP_SKETCH_RESCORE,
  OP_SKETCH_ROWS,
  OP_SOFTCAP,
} from "../../abi.js";
import type { PlacedTable } from "../../weights/place.js";
import type { PlacedSketch } from "../../weights/place-sketch.js";
import type { Value } from "../draft.js";
import type { Emitter } from "../emitter.js";
import { emitDense, matrixOperands } from "./dense.js";
import { emitFactored } from "./factored.js";
import { between } from "./rows.js";

/**
 * The control word CTRL_SHORTLIST says which of the two is computed; the other's instructions do nothing. A factored head is
 * small enough to be computed in full always. A soft cap keeps the order of logits: those of a shortlist are capped as they
 * are read.
 */
export function emitHead(
  emitter: Emitter,
  x: Value,
  table: PlacedTable,
  {
    sketch,
    softcap,
  }: { readonly sketch?: PlacedSketch | undefined; readonly softcap?: number | undefined } = {},
): Value {
  const logits = emitProduct(emitter, x, table, sketch);
  if (softcap === undefined) return logits;
  const y = emitter.like(logits);
  emitter.emit(OP_SOFTCAP, [logits], [y], {
    ...between(logits, y),
    [G_FACTOR]: { real: softcap },
    [G_HEAD_ONLY]: 1,
  });
  return y;
}

function emitProduct(emitter: Emitter, x: Value, table: PlacedTable, sketch?: PlacedSketch): Value {
  const y = emitter.rows(table.rows);
  if (table.kind === "factored") {
    emitFactored(emitter, x, table, y, true);
    return y;
  }
  emitDense(emitter, x, table, y, true);
  if (sketch !== undefined && emitter.mode === "token") {
    const operands = { ...between(x, y), ...matrixOperands(table), [M_SKETCH]: sketch.address };
    const state = emitter.fixed(sketch.address);
    emitter.emit(OP_SKETCH_ESTIMATE, [x], [state], operands);
    emitter.emit(OP_SKETCH_RESCORE, [x, state], [state], { ...operands });
  }
  return y;
}

/** The instruction that fills the sketch. */
export function emitSketchRows(emitter: Emitter, sketch: PlacedSketch): Value {
  const state = emitter.fixed(sketch.address);
  emitter.emit(OP_SKETCH_ROWS, [], [state], {
    ...matrixOperands(sketch.head),
    [M_SKETCH]: sketch.address,
  });
  return state;
}
