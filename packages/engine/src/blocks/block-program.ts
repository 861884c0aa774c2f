/**
 * Programs over one transformer block. A program is compiled once per distinct shape and run for every layer with
 * that layer's weights as feeds. Those that differentiate recompute the forward pass inside, so that the only thing
 * kept between the two passes is each block's input: activation checkpointing.
 */
import { blockForward, type LinearRole, type ModelSpec } from "@subbit/core";
import { gradients } from "../graph/gradients.js";
import { Graph, type Value } from "../graph/graph.js";
import { graphError } from "../graph/shapes.js";
import * as ops from "../ops/index.js";
import { compile, type CompileOptions, type Program } from "../program.js";
import { blockFeeds, type BlockForms } from "./forms.js";
import { GraphOps, type BatchShape } from "./graph-ops.js";

/**
 * N = batch * tokens, H = hidden size; every program also takes the weights of `blockFeeds`.
 * - `forward`: `hidden` [N, H] -> `out` [N, H]
 * - `backward`: `hidden`, `dOut` [N, H] -> `dHidden` [N, H] and `grad.<feed>` for each trainable feed
 * - `tune`: `hidden`, `target` [N, H], `importance` [H] -> `loss` [] = mean over tokens and features of
 *   importance o (out - target)^2, and `grad.<feed>` (NanoQuant's block loss, up to the constant H)
 * - `calibrate`: `hidden`, `dOut` -> `dHidden`, per linear `inputSquares.<role>` [cols] = sum over tokens of x^2 and
 *   `outputGradSquares.<role>` [rows] = sum over tokens of (dL/dy)^2
 * - `calibrate-forward`: `hidden` -> `out` and `inputSquares.<role>`
 * The calibrating modes add `inputGram.<role>` [cols, cols] = X^T X with the option `gram`; linears that read the same
 * input (q, k and v; gate and up) have the same one.
 */
export type BlockMode = "forward" | "backward" | "tune" | "calibrate" | "calibrate-forward";

export interface BlockProgramOptions extends BatchShape, CompileOptions {
  readonly mode: BlockMode;
  /** A layer of the kind that the block is of (`ModelSpec.kindOfLayer`): layers of a kind share their programs. */
  readonly layer: number;
  /** Feeds whose gradients `backward` and `tune` return. @default none */
  readonly trainable?: readonly string[];
  /** Whether calibration also returns X^T X, of every linear or of those named. @default false */
  readonly gram?: boolean | readonly LinearRole[];
}

/** Name of a gradient among a program's outputs. */
export function gradName(feed: string): string {
  return `grad.${feed}`;
}

/** Compiles a program over one block. Throws `internal` when a trainable feed does not exist. */
export async function blockProgram(
  spec: ModelSpec,
  forms: BlockForms,
  options: BlockProgramOptions,
): Promise<Program> {
  return compile(blockGraph(spec, forms, options), options);
}

/** The graph of a block program. */
export function blockGraph(spec: ModelSpec, forms: BlockForms, options: BlockProgramOptions): Graph {
  const { batch, tokens, mode, layer, trainable = [] } = options;
  const graph = new Graph();
  const weights = new Map(blockFeeds(spec, forms).map(({ name, shape }) => [name, graph.input(name, shape)]));
  const feed = (name: string): Value => {
    const value = weights.get(name);
    if (!value)
      throw graphError(`The block has no weight ${name}; it has ${[...weights.keys()].join(", ")}.`);
    return value;
  };
  const trained = new Set(trainable);
  const shape = [batch * tokens, spec.hiddenSize];
  const hidden = graph.input("hidden", shape);
  const layerOps = new GraphOps({ spec, forms, batch, tokens, feed, trained: (name) => trained.has(name) });
  const out = blockForward(layerOps, spec, layer, hidden);
  const emitGradients = (value: Value, grad: Value | undefined, withHidden: boolean): void => {
    const wrt = [...(withHidden ? [hidden] : []), ...trainable.map(feed)];
    const names = [...(withHidden ? ["dHidden"] : []), ...trainable.map(gradName)];
    gradients([{ value, ...(grad && { grad }) }], wrt).forEach((made, at) => graph.output(names[at], made));
  };
  if (mode === "forward" || mode === "calibrate-forward") graph.output("out", out);
  if (mode === "backward") emitGradients(out, graph.input("dOut", shape), true);
  if (mode === "tune") {
    const target = graph.input("target", shape);
    const importance = graph.input("importance", [spec.hiddenSize]);
    const loss = ops.reduceMean(ops.mul(ops.square(ops.sub(out, target)), importance));
    graph.output("loss", loss);
    emitGradients(loss, undefined, false);
  }
  if (mode === "calibrate") emitOutputStatistics(graph, layerOps, out, hidden, graph.input("dOut", shape));
  if (mode === "calibrate" || mode === "calibrate-forward")
    emitInputStatistics(graph, layerOps, options.gram ?? false);
  return graph;
}

function emitInputStatistics(
  graph: Graph,
  { linears }: GraphOps,
  gram: boolean | readonly LinearRole[],
): void {
  for (const [role, { input }] of linears) {
    graph.output(`inputSquares.${role}`, sumOfSquares(input));
    if (gram === true || (gram !== false && gram.includes(role)))
      graph.output(`inputGram.${role}`, ops.matmul(input, input, { transA: true }));
  }
}

function emitOutputStatistics(
  graph: Graph,
  { linears }: GraphOps,
  out: Value,
  hidden: Value,
  dOut: Value,
): void {
  const roles = [...linears.keys()];
  const outputs = roles.map((role) => (linears.get(role) as { output: Value }).output);
  const [dHidden, ...grads] = gradients([{ value: out, grad: dOut }], [hidden, ...outputs]);
  graph.output("dHidden", dHidden);
  roles.forEach((role: LinearRole, at) => graph.output(`outputGradSquares.${role}`, sumOfSquares(grads[at])));
}

function sumOfSquares(x: Value): Value {
  return ops.reduceSum(ops.square(x), [0]);
}
