/** Runs the ADMM programs of envelopes: a start, a schedule of rho, and the best point met. */
import { normalVariates } from "@subbit/core";
import type { AdmmShape } from "./admm-program.js";
import { runInChunks } from "./chunks.js";
import { orthonormaliser } from "./cholesky.js";
import { asScales, magnitudesOf } from "./envelope.js";
import {
  compileEnvelopeAdmm,
  type EnvelopeProgram,
  type EnvelopeState,
  type EnvelopeVariant,
  type MetricFeeds,
} from "./envelope-admm-program.js";
import type { PathTask } from "./methods/method.js";
import { basisOf, directionsOf, type MetricBasis } from "./metric-basis.js";
import { subtract } from "./refit.js";
import { signedEnvelope, type SignPath } from "./sign-path.js";

/** Size of latents beyond the rank of the start, beside its mean. */
const FILL = 0.1;

export interface EnvelopeRun {
  readonly task: PathTask;
  readonly variant: Omit<EnvelopeVariant, "envelope" | "metric">;
  /** rho of every iteration. */
  readonly rhos: readonly number[];
  /** What it starts from, of the task's rank or a smaller one. */
  readonly start: SignPath;
}

/** Anneals from the start; gives the best of the start and the points after every chunk. */
export async function runEnvelopeAdmm({ task, variant, rhos, start }: EnvelopeRun): Promise<SignPath> {
  const { shape, weight, gram, envelope, programs } = task;
  const { projections, ridge, smallestRho, middle } = variant;
  const { rows, cols } = shape;
  const full: EnvelopeVariant = {
    ...variant,
    envelope,
    metric: gram !== undefined,
    directions: directionsOf(cols),
  };
  const key = `envelope admm ${envelope} ${middle} ${full.metric} ${projections} ${ridge} ${smallestRho}`;
  const programOf = (careful: boolean): Promise<EnvelopeProgram> =>
    programs.once(`${key} ${careful}`, shape, () =>
      compileEnvelopeAdmm(shape, full, { threads: programs.threads, careful }),
    );
  const product = { m: rows, k: cols, n: cols };
  const basis = gram && (await basisOf(gram, cols, programs));
  const metric = gram && basis && metricFeeds(gram, basis, cols);
  const target = gram ? await programs.product(weight, gram, product) : weight;
  // A start with a middle scale is no answer where none is stored.
  let best = { error: middle === "unit" ? Infinity : await errorOf(task, start), path: start };
  let state = await startState(start, task, metric);
  await runInChunks({
    ...task,
    rhos,
    run: async (some, careful) => (await programOf(careful)).run(target, state, some, metric),
    take: async (chunk) => {
      state = evened(chunk.state, envelope);
      const path = pathOf(chunk.state, shape, full);
      const error = await errorOf(task, path);
      if (error < best.error) best = { error, path };
    },
  });
  return best.path;
}

/** tr(E G E^T), or |E|^2. */
async function errorOf({ weight, shape, gram, programs }: PathTask, path: SignPath): Promise<number> {
  const error = await subtract(weight, path, shapeOf(path, shape), programs);
  const { rows, cols } = shape;
  const turned = gram ? await programs.product(error, gram, { m: rows, k: cols, n: cols }) : error;
  let sum = 0;
  for (let at = 0; at < error.length; at++) sum += error[at] * turned[at];
  return sum;
}

function shapeOf(path: SignPath, { rows, cols }: AdmmShape): AdmmShape {
  return { rows, cols, rank: path.outLatents.length / rows };
}

/** Behind the directions stands the rest, every row of it with the tail as its eigenvalue. */
function metricFeeds(
  gram: Float32Array,
  { directions, basis, spectrum, tail }: MetricBasis,
  cols: number,
): MetricFeeds {
  if (directions === cols) return { gram, basis, spectrum };
  const stacked = new Float32Array(directions + cols).fill(tail);
  stacked.set(spectrum);
  return { gram, basis, spectrum: stacked };
}

/** A = Pi(latents), U = 0, with columns of small latents where the start has a smaller rank. */
async function startState(
  start: SignPath,
  { shape, envelope, programs, seed, path }: PathTask,
  metric: MetricFeeds | undefined,
): Promise<EnvelopeState> {
  const { rows, cols, rank } = shape;
  const side = async (name: "out" | "in", latents: Float32Array, length: number, stream: number) => {
    const filled = widened(latents, length, rank, { seed, stream: 2 * path + stream });
    const { left, right } = await magnitudesOf(filled, [length, rank], envelope, programs);
    const outer = asScales({ left, right }, envelope);
    const projected = signedEnvelope(filled, envelope, outer.outer, outer.middle);
    return {
      [`${name}.projected`]: projected,
      [`${name}.dual`]: new Float32Array(length * rank),
      [`${name}.left`]: left,
      [`${name}.right`]: right,
    };
  };
  const into = await side("in", start.inLatents, cols, 1);
  const state = { ...(await side("out", start.outLatents, rows, 0)), ...into } as EnvelopeState;
  if (!metric) return evened(state, envelope);
  const directions = metric.basis.length / cols;
  const projected = into["in.projected"];
  const top = await programs.product(metric.basis, projected, {
    m: directions,
    k: cols,
    n: rank,
    transA: true,
  });
  if (directions === cols) return { ...evened(state, envelope), "in.solved": top };
  const within = await programs.product(metric.basis, top, { m: cols, k: directions, n: rank });
  const solved = new Float32Array((directions + cols) * rank);
  solved.set(top);
  solved.set(
    projected.map((value, at) => value - within[at]),
    top.length,
  );
  return { ...evened(state, envelope), "in.solved": solved };
}

/** [length, rank] with columns of small random latents appended. */
function widened(
  latents: Float32Array,
  length: number,
  rank: number,
  random: { readonly seed: number; readonly stream: number },
): Float32Array {
  const given = latents.length / length;
  if (given === rank) return latents;
  const mean = latents.reduce((sum, value) => sum + Math.abs(value), 0) / latents.length;
  const wide = normalVariates(length * rank, random).map((value) => FILL * mean * value);
  for (let row = 0; row < length; row++) {
    wide.set(latents.subarray(row * given, (row + 1) * given), row * rank);
  }
  return wide;
}

/** The same state with orthonormal middle scales, from which the next truncated SVDs go on. */
function evened(state: EnvelopeState, envelope: number): EnvelopeState {
  if (envelope === 1) return state;
  const side = (name: "out" | "in") => {
    const right = state[`${name}.right`];
    const rank = right.length / envelope;
    const gram = new Float64Array(envelope * envelope);
    for (let k = 0; k < rank; k++) {
      for (let i = 0; i < envelope; i++) {
        for (let j = 0; j < envelope; j++) {
          gram[i * envelope + j] += right[k * envelope + i] * right[k * envelope + j];
        }
      }
    }
    const mixing = orthonormaliser(gram, envelope);
    const even = new Float32Array(right.length);
    for (let k = 0; k < rank; k++) {
      for (let i = 0; i < envelope; i++) {
        const value = right[k * envelope + i];
        for (let j = 0; j < envelope; j++) even[k * envelope + j] += value * mixing[i * envelope + j];
      }
    }
    return { [`${name}.right`]: even };
  };
  return { ...state, ...side("out"), ...side("in") };
}

/** The columns of the outputs are brought to unit length, as the inputs were solved for. */
function pathOf(state: EnvelopeState, { rank }: AdmmShape, { envelope, middle }: EnvelopeVariant): SignPath {
  const latents = (side: "out" | "in"): Float32Array => {
    const dual = state[`${side}.dual`];
    return state[`${side}.projected`].map((value, i) => value + dual[i]);
  };
  const squares = new Float64Array(rank);
  state["out.projected"].forEach((value, at) => (squares[at % rank] += value * value));
  const sides = (["out", "in"] as const).map((side) =>
    asScales({ left: state[`${side}.left`], right: state[`${side}.right`] }, envelope),
  );
  const [out, into] = sides;
  const midOutScales = out.middle.map((value, at) => {
    const square = squares[at % rank];
    return square > 0 ? value / Math.sqrt(square) : 0;
  });
  const found = {
    outLatents: latents("out"),
    inLatents: latents("in"),
    envelope,
    outScales: out.outer,
    inScales: into.outer,
  };
  if (envelope > 1) return { ...found, midScales: into.middle, midOutScales };
  const midScales = into.middle.map((value, k) => value * midOutScales[k]);
  if (middle === "free") return { ...found, midScales };
  // All of them are one number.
  return { ...found, inScales: found.inScales.map((scale) => scale * midScales[0]) };
}
