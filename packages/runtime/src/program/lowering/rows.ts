/** Operands that most instructions share. */
import { W_DST, W_DST_STRIDE, W_SRC, W_SRC_STRIDE } from "../../abi.js";
import { strideOf, type Operand, type Value } from "../draft.js";

/** From the rows of `x` to the rows of `y`. */
export function between(x: Value, y: Value): Record<number, Operand> {
  return { [W_SRC]: x, [W_SRC_STRIDE]: strideOf(x), [W_DST]: y, [W_DST_STRIDE]: strideOf(y) };
}
