/** Gram matrices of factors in codes: sums of bytes times bytes, a quarter of the time of floats. */
import { ops, type Value } from "@subbit/engine";
import { ZERO_POINT } from "./integer-weight.js";

/**
 * sum_i w_i |c_i| s_i s_i^T, exactly: codes c [n, rank] i8 with signs s and one magnitude a row, weights w [n, 1] whole
 * numbers up to 127. Symmetric and positive semidefinite to the last bit, since equal magnitudes have equal codes.
 */
export function gramSums(codes: Value, weights: Value): Value {
  const signs = ops.clip(ops.cast(codes, "f32"), -1, 1);
  const others = ops.cast(ops.add(ops.mul(signs, weights), ZERO_POINT), "u8");
  return ops.cast(ops.matmulInteger(ops.transpose(others), codes, ZERO_POINT), "f32");
}
