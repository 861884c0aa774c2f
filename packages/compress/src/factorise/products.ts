/** Programs over `left right^T` [rows, cols], left [rows, rank], right [cols, rank]: what refits and measures need. */
import { compile, type CompileOptions, Graph, ops, type Program, type Value } from "@subbit/engine";
import type { AdmmShape } from "./admm-program.js";

/** For programs that run a few times a matrix: what they allocate is given back between runs. */
export function oneOff(threads: number): CompileOptions {
  return { threads, spin: threads > 1, arena: false };
}

function factors(graph: Graph, { rows, cols, rank }: AdmmShape) {
  const weight = graph.input("weight", [rows, cols]);
  const left = graph.input("left", [rows, rank]);
  const right = graph.input("right", [cols, rank]);
  return { weight, left, right };
}

const gramOf = (x: Value): Value => ops.matmul(x, x, { transA: true });

/** `product` [m, n] = `left` [m, k] `right` [k, n], either of them fed transposed. */
export function compileProduct(
  { m, k, n }: { readonly m: number; readonly k: number; readonly n: number },
  transposes: { readonly transA?: boolean; readonly transB?: boolean },
  threads: number,
): Promise<Program> {
  const graph = new Graph();
  const left = graph.input("left", transposes.transA ? [k, m] : [m, k]);
  const right = graph.input("right", transposes.transB ? [n, k] : [k, n]);
  graph.output("product", ops.matmul(left, right, transposes));
  return compile(graph, oneOff(threads));
}

/** `residual` [rows, cols] = weight - left right^T. */
export function compileResidual(shape: AdmmShape, threads: number): Promise<Program> {
  const graph = new Graph();
  const { weight, left, right } = factors(graph, shape);
  graph.output("residual", ops.sub(weight, ops.matmul(left, right, { transB: true })));
  return compile(graph, oneOff(threads));
}

/**
 * With Y = left right^T: `rowDots` [rows] = sum_j W Y, `rowSquares` = sum_j Y^2, `colDots`, `colSquares` [cols] alike.
 */
export function compileDots(shape: AdmmShape, threads: number): Promise<Program> {
  const graph = new Graph();
  const { weight, left, right } = factors(graph, shape);
  const made = ops.matmul(left, right, { transB: true });
  const dots = ops.mul(weight, made);
  const squares = ops.square(made);
  graph.output("rowDots", ops.reduceSum(dots, [1]));
  graph.output("rowSquares", ops.reduceSum(squares, [1]));
  graph.output("colDots", ops.reduceSum(dots, [0]));
  graph.output("colSquares", ops.reduceSum(squares, [0]));
  return compile(graph, oneOff(threads));
}

/** `matrix` [rank, rank] = (L^T L) o (R^T R), `vector` [rank] = diag(L^T W R): the normal equations of a middle scale. */
export function compileMiddle(shape: AdmmShape, threads: number): Promise<Program> {
  const graph = new Graph();
  const { weight, left, right } = factors(graph, shape);
  graph.output("matrix", ops.mul(gramOf(left), gramOf(right)));
  graph.output("vector", ops.reduceSum(ops.mul(left, ops.matmul(weight, right)), [0]));
  return compile(graph, oneOff(threads));
}

/** The same three in the metric G [cols, cols] of the inputs; `weight` is fed as W G. */
export const metricPrograms = {
  /** `rowDots` [rows] = sum_j (W G) Y, `rowSquares` = sum_j (Y G) Y. */
  rows(shape: AdmmShape, threads: number): Promise<Program> {
    const graph = new Graph();
    const { weight, left, right } = factors(graph, shape);
    const gram = graph.input("gram", [shape.cols, shape.cols]);
    const made = ops.matmul(left, right, { transB: true });
    const turned = ops.matmul(left, ops.matmul(gram, right), { transB: true });
    graph.output("rowDots", ops.reduceSum(ops.mul(weight, made), [1]));
    graph.output("rowSquares", ops.reduceSum(ops.mul(turned, made), [1]));
    return compile(graph, oneOff(threads));
  },

  /** `matrix` [rank, rank] = (L^T L) o (R^T G R), `vector` [rank] = diag(L^T W G R). */
  middle(shape: AdmmShape, threads: number): Promise<Program> {
    const graph = new Graph();
    const { weight, left, right } = factors(graph, shape);
    const gram = graph.input("gram", [shape.cols, shape.cols]);
    const inner = ops.matmul(right, ops.matmul(gram, right), { transA: true });
    graph.output("matrix", ops.mul(gramOf(left), inner));
    graph.output("vector", ops.reduceSum(ops.mul(left, ops.matmul(weight, right)), [0]));
    return compile(graph, oneOff(threads));
  },

  /** With M = left right^T: `matrix` [cols, cols] = (M^T M) o G, `vector` [cols] = sum_i M o (W G). */
  cols(shape: AdmmShape, threads: number): Promise<Program> {
    const graph = new Graph();
    const { weight, left, right } = factors(graph, shape);
    const gram = graph.input("gram", [shape.cols, shape.cols]);
    const inner = ops.matmul(gramOf(left), right, { transB: true });
    graph.output("matrix", ops.mul(ops.matmul(right, inner), gram));
    graph.output("vector", ops.reduceSum(ops.mul(ops.matmul(left, right, { transB: true }), weight), [0]));
    return compile(graph, oneOff(threads));
  },
} as const;
