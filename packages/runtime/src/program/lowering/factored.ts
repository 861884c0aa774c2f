/** Factored and OneBit linears, and the lookup in a factored embedding, as instructions. */
import { ONEBIT_EPS } from "@subbit/core";
import {
  NORM_LAYER,
  N_BIAS,
  N_EPS,
  N_FEATURES,
  N_KIND,
  N_ROTATE,
  N_WEIGHT,
  OP_NORM,
  OP_SIGN_ROWS,
  ROW_PAD,
  R_COLS,
  R_MID,
  R_RANK,
  R_ROTATE,
  R_SCALE,
  R_SCALE_STRIDE,
  R_TERMS,
  R_WEIGHTS,
  SIGN_CHUNK,
  W_DST,
  W_DST_STRIDE,
} from "../../abi.js";
import { pad, type PlacedFactored, type PlacedOneBit, type PlacedTableFactors } from "../../weights/place.js";
import { strideOf, type Value } from "../draft.js";
import type { Emitter } from "../emitter.js";
import { between } from "./rows.js";
import { emitSigns } from "./signs.js";

/**
 * t = sum_j g_j o S_in (b_j o x), y = sum_i a_i o S_out (q_i o t), summed over paths.
 * @param headOnly only for the tokens whose logits are asked for
 */
export function emitFactored(
  emitter: Emitter,
  x: Value,
  linear: PlacedFactored,
  y: Value,
  headOnly = false,
): void {
  linear.paths.forEach((path, p) => {
    const { rank, envelope: count } = path;
    const t = emitter.rows(rank);
    emitSigns(emitter, x, path.inSigns, t, {
      count,
      inScales: path.inScales,
      outScales: path.midIn,
      headOnly,
    });
    emitSigns(emitter, t, path.outSigns, y, {
      count,
      inScales: path.midOut,
      outScales: path.outScales,
      accumulate: p > 0,
      bias: p === linear.paths.length - 1 ? linear.bias : 0,
      headOnly,
    });
  });
}

/** y = LayerNorm(h o S (g o x)) + bias. The bias, and a residual that is fused later, come after the norm. */
export function emitOneBit(emitter: Emitter, x: Value, linear: PlacedOneBit, y: Value): void {
  const t = emitter.rows(linear.rows);
  const { inScales, outScales } = linear;
  emitSigns(emitter, x, linear.signs, t, { count: 1, inScales, outScales });
  emitter.emit(OP_NORM, [t], [y], {
    ...between(t, y),
    [N_KIND]: NORM_LAYER,
    [N_FEATURES]: linear.rows,
    [N_WEIGHT]: linear.ones,
    [N_BIAS]: linear.bias,
    [N_EPS]: { real: ONEBIT_EPS },
    [N_ROTATE]: emitter.nextRotation(),
  });
}

/**
 * Rows of the table sum_p [S_out o (A Q^T)] [S_in o (G B^T)] for the ids of the tile: with u = the row's signs of S_out times
 * sum_i a_i[id] q_i, a row is sum_j b_j o S_in^T (g_j o u).
 */
export function emitFactoredEmbedding(emitter: Emitter, table: PlacedTableFactors): Value {
  const y = emitter.rows(table.cols);
  table.paths.forEach((path, p) => {
    const u = emitter.rows(path.rank);
    emitter.emit(OP_SIGN_ROWS, [], [u], {
      [W_DST]: u,
      [W_DST_STRIDE]: strideOf(u),
      [R_WEIGHTS]: path.outSigns.weights,
      [R_COLS]: pad(path.rank, SIGN_CHUNK),
      [R_RANK]: path.rank,
      [R_SCALE]: path.outScales,
      [R_SCALE_STRIDE]: pad(table.rows, ROW_PAD),
      [R_MID]: path.midOut,
      [R_TERMS]: path.envelope,
      [R_ROTATE]: emitter.nextRotation(),
    });
    emitSigns(emitter, u, path.inSignsTransposed, y, {
      count: path.envelope,
      inScales: path.midIn,
      outScales: path.inScales,
      accumulate: p > 0,
    });
  });
  return y;
}
