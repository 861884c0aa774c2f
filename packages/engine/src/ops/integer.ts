/**
 * Products of small integers, several times as fast as those of floats where the processor multiplies bytes (VNNI, AMX).
 * The first operand is unsigned with a zero point, the second signed: the one pairing that ONNX Runtime has fast kernels for.
 */
import { apply, requireDtype, type Op, type Value } from "../graph/graph.js";
import { graphError, showShape } from "../graph/shapes.js";

const matmulIntegerOp: Op<{ readonly zeroPoint: number }> = {
  name: "matmulInteger",
  infer: ([a, b]) => {
    requireDtype([a], "u8", "matmulInteger");
    requireDtype([b], "i8", "matmulInteger");
    const [m, k] = a.shape;
    const [inner, n] = b.shape;
    if (a.shape.length !== 2 || b.shape.length !== 2 || k !== inner) {
      throw graphError(`matmulInteger: ${showShape(a.shape)} and ${showShape(b.shape)} do not fit.`);
    }
    return { dtype: "i32", shape: [m, n] };
  },
  lower: (emitter, [a, b], output, { zeroPoint }) => {
    emitter.node("MatMulInteger", [a, b, emitter.byte(zeroPoint)], output);
  },
};

/**
 * (a - zeroPoint) b, exactly: a u8 [m, k], b i8 [k, n] -> i32 [m, n]. Processors without VNNI add pairs of products in 16
 * bits, so keep 255 * (|b| + |b'|) below 2^15 (|b| at most 64) for the same result everywhere. Without a gradient.
 */
export function matmulInteger(a: Value, b: Value, zeroPoint: number): Value {
  return apply(matmulIntegerOp, [a, b], { zeroPoint });
}
