/** Ops that move elements: transpose, slice, pad, concat, gather, scatter. */
import { apply, innermostGraph, requireDtype, type Op, type Value } from "../graph/graph.js";
import { graphError, normalizeAxes, sameShape, showShape } from "../graph/shapes.js";
import { equal, where } from "./elementwise.js";
import { reshape } from "./broadcast.js";

const transposeOp: Op<readonly number[]> = {
  name: "transpose",
  infer: ([x], order) => ({
    dtype: x.dtype,
    shape: order.map((axis) => x.shape[axis]),
  }),
  lower: (emitter, inputs, output, order) => {
    emitter.node("Transpose", inputs, output, { perm: { ints: order } });
  },
  vjp: ({ grad, attributes: order }) => [
    transpose(
      grad,
      order.map((_, axis) => order.indexOf(axis)),
    ),
  ],
};

/** Output axis i is input axis `order[i]`; the last two are swapped when left out. */
export function transpose(x: Value, order?: readonly number[]): Value {
  const rank = x.shape.length;
  const axes = order ?? [...Array(rank - 2).keys(), rank - 1, rank - 2];
  if (axes.length !== rank || new Set(normalizeAxes(axes, rank, "transpose")).size !== rank) {
    throw graphError(`transpose: ${showShape(axes)} is not an order of ${rank} axes.`);
  }
  return axes.every((axis, at) => axis === at) ? x : apply(transposeOp, [x], axes);
}

interface SliceAttributes {
  readonly axis: number;
  readonly begin: number;
  readonly end: number;
}

const sliceOp: Op<SliceAttributes> = {
  name: "slice",
  infer: ([x], { axis, begin, end }) => ({
    dtype: x.dtype,
    shape: x.shape.map((extent, at) => (at === axis ? end - begin : extent)),
  }),
  lower: (emitter, [x], output, { axis, begin, end }) => {
    emitter.node("Slice", [x, emitter.ints([begin]), emitter.ints([end]), emitter.ints([axis])], output);
  },
  vjp: ({ grad, inputs: [x], attributes: { axis, begin, end } }) => [
    pad(grad, axis, begin, x.shape[axis] - end),
  ],
};

/** Elements `begin` (inclusive) to `end` (exclusive, the whole rest when left out) along an axis. */
export function slice(x: Value, axis: number, begin: number, end?: number): Value {
  const at = normalizeAxes([axis], x.shape.length, "slice")[0];
  const extent = x.shape[at];
  const stop = end ?? extent;
  if (begin < 0 || stop > extent || begin >= stop) {
    throw graphError(`slice: ${begin} to ${stop} is not a range of axis ${at} of ${showShape(x.shape)}.`);
  }
  return begin === 0 && stop === extent ? x : apply(sliceOp, [x], { axis: at, begin, end: stop });
}

const padOp: Op<{ readonly axis: number; readonly before: number; readonly after: number }> = {
  name: "pad",
  infer: ([x], { axis, before, after }) => ({
    dtype: x.dtype,
    shape: x.shape.map((extent, at) => (at === axis ? extent + before + after : extent)),
  }),
  lower: (emitter, [x], output, { axis, before, after }, { shape }) => {
    const pads = [
      ...shape.map((_, at) => (at === axis ? before : 0)),
      ...shape.map((_, at) => (at === axis ? after : 0)),
    ];
    emitter.node("Pad", [x, emitter.ints(pads)], output);
  },
  vjp: ({ grad, inputs: [x], attributes: { axis, before } }) => [
    slice(grad, axis, before, before + x.shape[axis]),
  ],
};

/** Zeros before and after along an axis. */
export function pad(x: Value, axis: number, before: number, after: number): Value {
  const at = normalizeAxes([axis], x.shape.length, "pad")[0];
  return before === 0 && after === 0 ? x : apply(padOp, [x], { axis: at, before, after });
}

const concatOp: Op<{ readonly axis: number }> = {
  name: "concat",
  infer: (inputs, { axis }) => {
    const [first] = inputs as readonly [Value];
    for (const { shape } of inputs) {
      if (!sameShape(shape.with(axis, 0), first.shape.with(axis, 0))) {
        throw graphError(
          `concat: ${showShape(first.shape)} and ${showShape(shape)} differ beside axis ${axis}.`,
        );
      }
    }
    const total = inputs.reduce((sum, { shape }) => sum + shape[axis], 0);
    return { dtype: first.dtype, shape: first.shape.with(axis, total) };
  },
  lower: (emitter, inputs, output, { axis }) => {
    emitter.node("Concat", inputs, output, { axis: { int: axis } });
  },
  vjp: ({ grad, inputs, attributes: { axis } }) => {
    let begin = 0;
    return inputs.map(({ shape }) => {
      const end = begin + shape[axis];
      const part = slice(grad, axis, begin, end);
      begin = end;
      return part;
    });
  },
};

/** Joins values along an axis. */
export function concat(values: readonly Value[], axis: number): Value {
  const [first] = values;
  if (!first) throw graphError("concat needs at least one value.");
  if (values.length === 1) return first;
  return apply(concatOp, values, { axis: normalizeAxes([axis], first.shape.length, "concat")[0] });
}

const gatherOp: Op<null> = {
  name: "gather",
  infer: ([table, ids]) => {
    requireIndex(ids, "gather");
    return {
      dtype: table.dtype,
      shape: [...ids.shape, ...table.shape.slice(1)],
    };
  },
  lower: (emitter, inputs, output) => {
    emitter.node("Gather", inputs, output, { axis: { int: 0 } });
  },
  vjp: ({ grad, inputs: [table, ids] }) => [scatterAdd(grad, ids, table.shape[0]), undefined],
};

/** Rows of `table` [rows, ...] at `ids` (i32 or i64, in range): [...ids.shape, ...]. */
export function gather(table: Value, ids: Value): Value {
  return apply(gatherOp, [table, ids], null);
}

const scatterAddOp: Op<{ readonly rows: number }> = {
  name: "scatterAdd",
  infer: ([x, ids], { rows }) => ({
    dtype: "f32",
    shape: [rows, ...x.shape.slice(ids.shape.length)],
  }),
  lower: (emitter, [x, ids], output, _attributes, { shape }) => {
    const zeros = emitter.node("Expand", [emitter.float(0), emitter.ints(shape)], undefined);
    const wide = emitter.node("Cast", [ids], undefined, { to: { int: 7 } });
    const index = emitter.node("Unsqueeze", [wide, emitter.ints([-1])], undefined);
    emitter.node("ScatterND", [zeros, index, x], output, { reduction: { text: "add" } });
  },
  vjp: ({ grad, inputs: [, ids] }) => [gather(grad, ids), undefined],
};

/** Zeros [rows, ...] with the rows of `x` [...ids.shape, ...] added at `ids`; the adjoint of `gather`. */
export function scatterAdd(x: Value, ids: Value, rows: number): Value {
  requireIndex(ids, "scatterAdd");
  return apply(scatterAddOp, [x, ids], { rows });
}

/** f32 [...ids.shape, depth] with 1 at `ids` and 0 elsewhere; without a gradient. */
export function oneHot(ids: Value, depth: number): Value {
  requireIndex(ids, "oneHot");
  const { root } = innermostGraph([ids]);
  const range = Array.from({ length: depth }, (_, index) => index);
  const columns = root.constant(
    ids.dtype === "i32" ? Int32Array.from(range) : BigInt64Array.from(range, BigInt),
  );
  return where(equal(reshape(ids, [...ids.shape, 1]), columns), 1, 0);
}

const takeAlongOp: Op<null> = {
  name: "takeAlong",
  infer: ([x, ids]) => {
    requireDtype([x], "f32", "takeAlong");
    requireIndex(ids, "takeAlong");
    if (!sameShape(x.shape.slice(0, -1), ids.shape)) {
      throw graphError(`takeAlong: ${showShape(ids.shape)} does not index ${showShape(x.shape)}.`);
    }
    return { dtype: "f32", shape: ids.shape };
  },
  lower: (emitter, [x, ids], output) => {
    const index = emitter.node("Unsqueeze", [ids, emitter.ints([-1])], undefined);
    const taken = emitter.node("GatherElements", [x, index], undefined, { axis: { int: -1 } });
    emitter.node("Squeeze", [taken, emitter.ints([-1])], output);
  },
  vjp: ({ grad, inputs: [x, ids] }) => {
    const { shape } = x;
    const index = reshape(ids, [...ids.shape, 1]);
    const depth = shape[shape.length - 1];
    const range = Array.from({ length: depth }, (_, at) => at);
    const columns = innermostGraph([index]).root.constant(
      index.dtype === "i32" ? Int32Array.from(range) : BigInt64Array.from(range, BigInt),
    );
    return [where(equal(index, columns), reshape(grad, index.shape), 0), undefined];
  },
};

/** From each last-axis row of `x` [..., n] the element at `ids` [...]: [...]. */
export function takeAlong(x: Value, ids: Value): Value {
  return apply(takeAlongOp, [x, ids], null);
}

function requireIndex(ids: Value, what: string): void {
  if (ids.dtype !== "i32" && ids.dtype !== "i64")
    throw graphError(`${what} takes i32 or i64 ids, it got ${ids.dtype}.`);
}
