/**
 * Programs over the end of the model: final norm, head and loss, on a chunk of tokens at a time, so that memory is
 * bounded by chunk * vocabulary whatever the batch.
 */
import type { ModelSpec } from "@subbit/core";
import { gradients } from "../graph/gradients.js";
import { Graph, type Value } from "../graph/graph.js";
import * as ops from "../ops/index.js";
import { compile, type CompileOptions, type Program } from "../program.js";
import { gradName } from "./block-program.js";
import { finalNormOf, type NormFeed } from "./final-norm.js";

/**
 * C = chunk, H = hidden size, E = embedding size, V = vocabulary. Every program takes `hidden` [C, H] (what leaves the last
 * block), `head.weight` [V, E] and, where the model has them, `final-norm.weight` [H] (and `.bias` for layer norms) and
 * `projection-out.weight` [E, H].
 * - `logits`: -> `logits` [C, V]
 * - `loss`: `targets` i32 [C], `tokenWeights` [C] -> `tokenLoss` [C] = -log p(target), and with `gradients`:
 *   `dHidden` [C, H] and `grad.final-norm.weight` (and bias) of sum(tokenWeights o tokenLoss)
 * - `kl`: `teacherHidden` [C, H], `teacher.final-norm.weight`, `teacher.head.weight` unless `sharedHead`,
 *   `tokenWeights` [C] -> `tokenKl` [C] = KL(teacher || student), `agreement` [C] = 1 where both have the same most
 *   likely token, and the same gradients of sum(tokenWeights o tokenKl); the teacher's `projection-out` has the prefix too
 */
export type HeadMode = "logits" | "loss" | "kl";

export interface HeadProgramOptions extends CompileOptions {
  readonly mode: HeadMode;
  /** Tokens per run. @default 128 */
  readonly chunk?: number;
  /** Whether to return gradients (and to take `tokenWeights`). @default false */
  readonly gradients?: boolean;
  /** Whether teacher and student have the same head weights, fed once. @default false */
  readonly sharedHead?: boolean;
}

/** Tokens per run of a head program: enough for products at full speed; larger results only cost page faults. */
export const HEAD_CHUNK = 128;

/** Compiles a program over final norm and head. */
export async function headProgram(spec: ModelSpec, options: HeadProgramOptions): Promise<Program> {
  return compile(headGraph(spec, options), options);
}

/** The graph of a head program. */
export function headGraph(spec: ModelSpec, options: HeadProgramOptions): Graph {
  const { mode, chunk = HEAD_CHUNK } = options;
  const graph = new Graph();
  const shape = [chunk, spec.hiddenSize];
  const headShape = [spec.vocabSize, spec.ends.embeddingSize];
  const hidden = graph.input("hidden", shape);
  const head = graph.input("head.weight", headShape);
  const student = normAndHead(graph, spec, hidden, "", head);
  if (mode === "logits") {
    graph.output("logits", student.logits);
    return graph;
  }
  const { name, loss } =
    mode === "loss"
      ? { name: "tokenLoss", loss: ops.crossEntropy(student.logits, graph.input("targets", [chunk], "i32")) }
      : { name: "tokenKl", loss: divergence(graph, spec, options, student.logits, shape, headShape) };
  graph.output(name, loss);
  if (options.gradients) {
    const weights = graph.input("tokenWeights", [chunk]);
    const names = ["dHidden", ...student.norm.map(([feed]) => gradName(feed))];
    const wrt = [hidden, ...student.norm.map(([, value]) => value)];
    gradients([{ value: loss, grad: weights }], wrt).forEach((made, at) => graph.output(names[at], made));
  }
  return graph;
}

function divergence(
  graph: Graph,
  spec: ModelSpec,
  { sharedHead = false }: HeadProgramOptions,
  student: Value,
  shape: readonly number[],
  headShape: readonly number[],
): Value {
  const teacherHidden = graph.input("teacherHidden", shape);
  const head = sharedHead
    ? (graph.inputs.get("head.weight") as Value)
    : graph.input("teacher.head.weight", headShape);
  const teacher = normAndHead(graph, spec, teacherHidden, "teacher.", head).logits;
  const same = ops.equal(ops.argMax(teacher, 1), ops.argMax(student, 1));
  graph.output("agreement", ops.cast(same, "f32"));
  return ops.klDivergence(teacher, student);
}

interface NormAndHead {
  readonly logits: Value;
  readonly norm: readonly NormFeed[];
}

function normAndHead(graph: Graph, spec: ModelSpec, hidden: Value, prefix: string, head: Value): NormAndHead {
  const { logitSoftcap: cap } = spec.ends;
  const { out, norm } = finalNormOf(graph, spec, hidden, prefix);
  const logits = ops.matmul(out, head, { transB: true });
  return { logits: cap === undefined ? logits : ops.mul(ops.tanh(ops.mul(logits, 1 / cap)), cap), norm };
}
