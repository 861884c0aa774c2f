/** Runs the ADMM programs: a start, a schedule of rho, and the factors at the end. */
import { normalVariates } from "@subbit/core";
import type { AdmmProgram, AdmmShape, AdmmState, AdmmVariant } from "./admm-program.js";
import { runInChunks } from "./chunks.js";
import { type IntegerWeight, integerWeight, LEVELS } from "./integer-weight.js";
import type { SignPath } from "./sign-path.js";

/** Size of the random start beside a matrix of unit root mean square: small, so that the data soon outweigh it. */
export const START_SIZE = 0.1;

export interface AdmmRun {
  /** The program of a variant, with plain or with careful inverses. */
  readonly program: (variant: AdmmVariant, careful: boolean) => Promise<AdmmProgram>;
  readonly shape: AdmmShape;
  readonly variant: AdmmVariant;
  /** [rows, cols], root mean square about 1. */
  readonly weight: Float32Array;
  /** rho of every iteration. */
  readonly rhos: readonly number[];
  readonly seed: number;
  /** Stream of the seed, such as the number of the path. */
  readonly stream: number;
  readonly signal?: AbortSignal | undefined;
  readonly onIteration?: ((done: number) => void) | undefined;
}

/** Anneals from a random start. */
export async function runAdmm(run: AdmmRun): Promise<SignPath> {
  const { shape, weight } = run;
  const codes = run.variant.integer ? integerWeight(weight, shape.rows, shape.cols) : undefined;
  const variant = { ...run.variant, integer: codes !== undefined };
  let state = startState(shape, variant, run.seed, run.stream, codes);
  await runInChunks({
    ...run,
    run: async (some, careful) => (await run.program(variant, careful)).run(codes ?? weight, state, some),
    take: (chunk) => {
      state = chunk.state;
    },
  });
  return rawPath(state, shape, variant);
}

/** Random factors of which the projection is already taken: A = Pi(P), U = P - A. */
function startState(
  shape: AdmmShape,
  variant: AdmmVariant,
  seed: number,
  stream: number,
  codes: IntegerWeight | undefined,
): AdmmState {
  const factor = (side: "out" | "in", length: number, which: number): Partial<AdmmState> => {
    const { rank } = shape;
    const dual = normalVariates(length * rank, { seed, stream: 2 * stream + which });
    const projected = new Float32Array(dual.length);
    const columns = new Float32Array(dual.length);
    const equaliser = codes?.[`${side}Equaliser`];
    const sizes = Float32Array.from({ length }, (_, row) => {
      const values = dual.subarray(row * rank, (row + 1) * rank);
      return (values.reduce((sum, value) => sum + Math.abs(value), 0) / rank) * START_SIZE;
    });
    const step = equaliser ? largestOf(sizes.map((size, row) => size / equaliser[row])) / LEVELS : 0;
    let squares = 0;
    for (let row = 0; row < length; row++) {
      const values = dual.subarray(row * rank, (row + 1) * rank);
      const unit = equaliser ? step * equaliser[row] : 0;
      const mean = unit > 0 ? Math.max(1, Math.round(sizes[row] / unit)) * unit : sizes[row];
      squares += mean * mean;
      values.forEach((value, k) => {
        const sign = value < 0 ? -1 : 1;
        projected[row * rank + k] = sign * mean;
        columns[row * rank + k] = sign / Math.sqrt(length);
        values[k] = START_SIZE * value - sign * mean;
      });
    }
    const fields = { [`${side}.projected`]: projected, [`${side}.dual`]: dual };
    if (variant.middle === "unit")
      return {
        ...fields,
        [`${side}.norm`]: Float32Array.of(Math.sqrt(squares)),
        ...(equaliser && { [`${side}.step`]: Float32Array.of(step) }),
      };
    return { ...fields, [`${side}.columns`]: columns, [`${side}.norm`]: Float32Array.of(1) };
  };
  return { ...factor("out", shape.rows, 0), ...factor("in", shape.cols, 1) } as AdmmState;
}

/** Envelopes of the final state. In scales carry the matrix's size, since the last half iteration solved for them. */
function rawPath(state: AdmmState, { rows, cols, rank }: AdmmShape, { middle }: AdmmVariant): SignPath {
  const latents = (side: "out" | "in"): Float32Array => {
    const dual = state[`${side}.dual`];
    return state[`${side}.projected`].map((value, i) => value + dual[i]);
  };
  const magnitudes = (values: Float32Array, length: number): Float32Array =>
    Float32Array.from({ length }, (_, row) => Math.abs(values[row * rank]));
  const left = middle === "unit" ? state["out.projected"] : state["out.columns"];
  const right = middle === "unit" ? state["in.projected"] : state["in.columns"];
  const outScales = magnitudes(left, rows);
  const inScales = magnitudes(right, cols);
  const raw = { outLatents: latents("out"), inLatents: latents("in"), outScales, inScales };
  if (middle === "unit") return raw;
  const row = largest(inScales);
  const midScales = Float32Array.from({ length: rank }, (_, k) =>
    Math.abs(state["in.projected"][row * rank + k] / inScales[row]),
  );
  return { ...raw, midScales };
}

function largestOf(values: Float32Array): number {
  return values.reduce((best, value) => Math.max(best, value), 0);
}

function largest(values: Float32Array): number {
  return values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
}
