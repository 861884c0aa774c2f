/** Programs over `left right^T` [rows, cols], left [rows, rank], right [cols, rank]: what refits and measures need. */
import { compile, type CompileOptions, Graph, ops, type Program } from "@subbit/engine";
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
  const gram = (x: typeof left) => ops.matmul(x, x, { transA: true });
  graph.output("matrix", ops.mul(gram(left), gram(right)));
  graph.output("vector", ops.reduceSum(ops.mul(left, ops.matmul(weight, right)), [0]));
  return compile(graph, oneOff(threads));
}
