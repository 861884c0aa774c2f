/**
 * Gradient descent on all scales of all paths with the signs standing (MDBF, arXiv 2512.24545: Adam at a rate of 0.01 that
 * falls by a cosine, gradients clipped to 1, the best point kept). It fits what closed forms cannot: envelopes of l > 1,
 * several paths and a full metric at once.
 */
import { throwIfAborted } from "@subbit/core";
import {
  AdamW,
  clipScale,
  compile,
  cosineSchedule,
  globalNorm,
  gradients,
  Graph,
  ops,
  type Program,
  type Value,
} from "@subbit/engine";
import type { AdmmShape } from "./admm-program.js";
import { oneOff } from "./products.js";
import type { Programs } from "./programs.js";
import { rootMeanSquare } from "./root-mean-square.js";
import type { SignPath } from "./sign-path.js";

/** Of each vector's root mean square, which makes the rate independent of how sizes are shared out. */
const RATE = 0.01;
const CLIP = 1;

export interface RefineTask {
  /** [rows, cols], folded. */
  readonly weight: Float32Array;
  /** [cols, cols] */
  readonly gram?: Float32Array | undefined;
  readonly paths: readonly SignPath[];
  readonly shapes: readonly AdmmShape[];
  readonly steps: number;
  readonly programs: Programs;
  readonly signal?: AbortSignal | undefined;
}

const SCALES = ["outScales", "midOutScales", "midScales", "inScales"] as const;

/** The paths with the best scales met on the way, the given ones included. */
export async function refine(task: RefineTask): Promise<SignPath[]> {
  const { weight, gram, paths, shapes, steps, programs } = task;
  const form = paths.map((path) => `${path.envelope ?? 1}${path.midScales ? "m" : ""}`).join();
  const ranks = shapes.map(({ rank }) => rank).join();
  const program = await programs.once(`refine ${form} ${ranks} ${gram !== undefined}`, shapes[0], () =>
    compileLoss(task, programs.threads),
  );
  const scales = new Map<string, Float32Array>();
  const feeds: Record<string, Float32Array> = { weight, ...(gram && { gram }) };
  for (const [p, path] of paths.entries()) {
    feeds[`${p}.outSigns`] = path.outLatents.map((value) => (value < 0 ? -1 : 1));
    feeds[`${p}.inSigns`] = path.inLatents.map((value) => (value < 0 ? -1 : 1));
    for (const name of SCALES) {
      const values = path[name];
      if (values) scales.set(`${p}.${name}`, values.slice());
    }
  }
  const groups = [...scales].map(([name, values]) => ({ name, values, rate: rootMeanSquare(values) }));
  const adam = new AdamW(groups);
  const rate = cosineSchedule({ steps, warmup: 0 });
  let best = { loss: Infinity, scales: new Map<string, Float32Array>() };
  for (let step = 0; step <= steps; step++) {
    throwIfAborted(task.signal);
    const { loss, ...grads } = await program.run({ ...feeds, ...Object.fromEntries(scales) });
    if (loss[0] < best.loss) {
      best = { loss: loss[0], scales: new Map([...scales].map(([name, values]) => [name, values.slice()])) };
    }
    if (step === steps || !Number.isFinite(loss[0])) break;
    // In units of each vector's own size, as the rate is.
    const relative = groups.map(({ name, rate: size }) => grads[name].map((value) => value * size));
    adam.step(grads, RATE * rate(step), clipScale(globalNorm(relative), CLIP));
  }
  return paths.map((path, p) => {
    const kept = SCALES.flatMap((name) => {
      const values = best.scales.get(`${p}.${name}`);
      return values ? [[name, values] as const] : [];
    });
    return { ...path, ...Object.fromEntries(kept) };
  });
}

/** `loss`, the squared relative error (in the metric of the Gram matrix), and its gradient by the name of each scale. */
function compileLoss({ paths, shapes, gram }: RefineTask, threads: number): Promise<Program> {
  const graph = new Graph();
  const { rows, cols } = shapes[0];
  const weight = graph.input("weight", [rows, cols]);
  const metric = gram && graph.input("gram", [cols, cols]);
  const energy = (x: Value): Value => ops.reduceSum(ops.mul(x, metric ? ops.matmul(x, metric) : x));
  const scales = new Map<string, Value>();
  let error = weight;
  paths.forEach((path, p) => {
    const { rank } = shapes[p];
    const envelope = path.envelope ?? 1;
    const scale = (name: (typeof SCALES)[number], length: number): Value => {
      if (!path[name])
        return graph.root.constant(new Float32Array(envelope * length).fill(1), [envelope, length]);
      const value = graph.input(`${p}.${name}`, [envelope, length]);
      scales.set(`${p}.${name}`, value);
      return value;
    };
    const side = (signs: string, length: number, outer: Value, middle: Value): Value =>
      ops.mul(graph.input(`${p}.${signs}`, [length, rank]), ops.matmul(outer, middle, { transA: true }));
    const left = side("outSigns", rows, scale("outScales", rows), scale("midOutScales", rank));
    const right = side("inSigns", cols, scale("inScales", cols), scale("midScales", rank));
    error = ops.sub(error, ops.matmul(left, right, { transB: true }));
  });
  const loss = ops.div(energy(error), energy(weight));
  graph.output("loss", loss);
  const found = gradients(loss, [...scales.values()]);
  [...scales.keys()].forEach((name, i) => graph.output(name, found[i]));
  return compile(graph, oneOff(threads));
}
