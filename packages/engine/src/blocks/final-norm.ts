/** What stands between the last block and the head (final norm, projection) as graph nodes, and a program that compares what it makes of a student's and a teacher's states. */
import { leaveForward, projectionShape, type ModelSpec } from "@subbit/core";
import { gradients } from "../graph/gradients.js";
import { Graph, type Value } from "../graph/graph.js";
import * as ops from "../ops/index.js";
import { compile, type CompileOptions, type Program } from "../program.js";
import { gradName } from "./block-program.js";
import { DENSE_FORMS, normFeedsOf } from "./forms.js";
import { GraphOps, projectionFeed } from "./graph-ops.js";

/** A weight of the norm, by the name of its feed without a prefix. */
export type NormFeed = readonly [name: string, value: Value];

/**
 * What the head multiplies, of `hidden` [N, H]. The norm's weights, where there is one, are the feeds
 * `<prefix>final-norm.weight` (and `.bias`), the projection's is `<prefix>projection-out.weight`.
 */
export function finalNormOf(
  graph: Graph,
  spec: ModelSpec,
  hidden: Value,
  prefix: string,
): { readonly out: Value; readonly norm: readonly NormFeed[] } {
  const norm = (spec.ends.finalNorm ? normFeedsOf(spec, "final-norm") : []).map(
    ({ name, shape }): NormFeed => [name, graph.input(prefix + name, shape)],
  );
  const byName = new Map(norm);
  if (spec.ends.projected) {
    const { rows, cols } = projectionShape(spec, "out");
    const name = projectionFeed("out");
    byName.set(name, graph.input(prefix + name, [rows, cols]));
  }
  const [tokens] = hidden.shape as readonly [number];
  const normOps = new GraphOps({
    spec,
    forms: DENSE_FORMS,
    batch: 1,
    tokens,
    feed: (name) => byName.get(name) as Value,
  });
  return { out: leaveForward(normOps, spec, hidden), norm };
}

/**
 * N = tokens, H = hidden size: `hidden`, `teacherHidden` [N, H] (what leaves the last blocks), the weights of both norms
 * (the teacher's with the prefix `teacher.`) and `scale` [1] -> `loss` [] = mean over tokens and features of the squared
 * difference behind the norms, and `dHidden` [N, H] and `grad.final-norm.weight` (and bias) of scale * loss.
 */
export async function finalNormProgram(
  spec: ModelSpec,
  { tokens, ...options }: CompileOptions & { readonly tokens: number },
): Promise<Program> {
  const graph = new Graph();
  const shape = [tokens, spec.hiddenSize];
  const hidden = graph.input("hidden", shape);
  const student = finalNormOf(graph, spec, hidden, "");
  const teacher = finalNormOf(graph, spec, graph.input("teacherHidden", shape), "teacher.");
  const loss = ops.reduceMean(ops.square(ops.sub(student.out, teacher.out)));
  graph.output("loss", loss);
  const names = ["dHidden", ...student.norm.map(([name]) => gradName(name))];
  const wrt = [hidden, ...student.norm.map(([, value]) => value)];
  const grad = ops.reshape(graph.input("scale", [1]), []);
  gradients([{ value: loss, grad }], wrt).forEach((made, at) => graph.output(names[at], made));
  return compile(graph, options);
}
