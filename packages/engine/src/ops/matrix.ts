/** Matrix products. Two-dimensional ones become `Gemm`, so that transposed operands are never materialised. */
import { apply, requireDtype, type Op, type Value } from "../graph/graph.js";
import { broadcastShapes, graphError, showShape, type Shape } from "../graph/shapes.js";
import { reshape, unbroadcast } from "./broadcast.js";
import { add } from "./elementwise.js";

export interface MatmulOptions {
  /** Use the transpose of the first operand (its last two axes). @default false */
  readonly transA?: boolean;
  /** Use the transpose of the second operand (its last two axes). @default false */
  readonly transB?: boolean;
}

interface MatmulAttributes {
  readonly transA: boolean;
  readonly transB: boolean;
}

const matmulOp: Op<MatmulAttributes> = {
  name: "matmul",
  infer: ([a, b], attributes) => {
    requireDtype([a, b], "f32", "matmul");
    return { dtype: "f32", shape: productShape(a.shape, b.shape, attributes) };
  },
  lower: (emitter, [a, b], output, { transA, transB }, { shape }) => {
    if (shape.length === 2) {
      const flags = { transA: { int: transA ? 1 : 0 }, transB: { int: transB ? 1 : 0 } };
      emitter.node("Gemm", [a, b], output, flags);
      return;
    }
    // ONNX Runtime folds these transposes into the product where it can (FusedMatMul).
    const swap = (name: string): string =>
      emitter.node("Transpose", [name], undefined, { perm: { ints: swappedOrder(shape.length) } });
    emitter.node("MatMul", [transA ? swap(a) : a, transB ? swap(b) : b], output);
  },
  vjp: ({ grad, inputs: [left, right], attributes: { transA, transB }, needs }) => {
    const [a, b] = [left, right];
    const gradA = (): Value =>
      transA ? matmul(b, grad, { transA: transB, transB: true }) : matmul(grad, b, { transB: !transB });
    const gradB = (): Value =>
      transB ? matmul(grad, a, { transA: true, transB: transA }) : matmul(a, grad, { transA: !transA });
    return [
      needs[0] ? unbroadcast(gradA(), a.shape) : undefined,
      needs[1] ? unbroadcast(gradB(), b.shape) : undefined,
    ];
  },
};

/**
 * Product over the last two axes, batched (with broadcasting) over the others: [..., m, k] x [..., k, n] = [..., m, n].
 */
export function matmul(a: Value, b: Value, options: MatmulOptions = {}): Value {
  const rank = Math.max(a.shape.length, b.shape.length);
  // Equal ranks make every transpose one of the last two axes; the missing batch axes have extent 1.
  const lift = (x: Value): Value => reshape(x, [...Array<number>(rank - x.shape.length).fill(1), ...x.shape]);
  return apply(matmulOp, [lift(a), lift(b)], {
    transA: options.transA ?? false,
    transB: options.transB ?? false,
  });
}

/** y = x W^T + bias: x [..., cols], weight [rows, cols], bias [rows]. */
export function linear(x: Value, weight: Value, bias?: Value): Value {
  const [rows, cols] = weight.shape as readonly [number, number];
  const flat = matmul(reshape(x, [-1, cols]), weight, { transB: true });
  return reshape(bias ? add(flat, bias) : flat, [...x.shape.slice(0, -1), rows]);
}

function productShape(a: Shape, b: Shape, { transA, transB }: MatmulAttributes): number[] {
  if (a.length < 2 || b.length < 2) {
    throw graphError(`matmul takes matrices, it got ${showShape(a)} and ${showShape(b)}.`);
  }
  const [m, k] = lastTwo(a, transA);
  const [inner, n] = lastTwo(b, transB);
  if (k !== inner) {
    throw graphError(
      `matmul: ${showShape(a)} (transposed: ${transA}) and ${showShape(b)} (${transB}) do not fit.`,
    );
  }
  return [...broadcastShapes(a.slice(0, -2), b.slice(0, -2), "matmul"), m, n];
}

function lastTwo(shape: Shape, swapped: boolean): [number, number] {
  const [first, second] = shape.slice(-2) as [number, number];
  return swapped ? [second, first] : [first, second];
}

function swappedOrder(rank: number): number[] {
  return [...Array(rank - 2).keys(), rank - 1, rank - 2];
}
