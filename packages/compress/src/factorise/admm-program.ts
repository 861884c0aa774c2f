/**
 * Alternating direction method of multipliers for `W ~ X_out B^T`, X and B of signs times a rank-1 envelope, as one
 * program: every iteration of a chunk runs inside one ONNX loop.
 *
 * Both factors stand upright, [rows, rank] and [cols, rank]. One half iteration for a factor with the other one's
 * column-normalised X (DBF, arXiv 2505.11076, and NanoQuant's LB-ADMM, arXiv 2602.06694):
 *   V = (W X + rho (A - U)) (X^T X + (ridge + rho) I)^-1,   A = Pi(V + U),   U = V + U - A,
 * Pi the nearest matrix of signs times an envelope: u v^T (best rank 1 of the magnitudes), or u 1^T when the middle
 * scale is fixed to one, where u is simply the mean magnitude of each row.
 */
import { compile, Graph, ops, type Program, type Value } from "@subbit/engine";
import { Identities, invert, type InverseStep, inverseCoefficients, LEAF, stepsNeeded } from "./inverse.js";

/** `unit`: envelope u 1^T, so that no middle scale is stored; `free`: u v^T. */
export type MiddleScale = "unit" | "free";

export interface AdmmShape {
  readonly rows: number;
  readonly cols: number;
  readonly rank: number;
}

export interface AdmmVariant {
  readonly middle: MiddleScale;
  /** Projections per half iteration; those after the first run at rho = 1 (3 in DBF, 1 in NanoQuant). */
  readonly projections: number;
  /** Added to the diagonal of X^T X, whose entries are 1, beside RELATIVE_RIDGE. */
  readonly ridge: number;
  /** The smallest rho of the schedule; ridge + this bounds the spectrum from below. */
  readonly smallestRho: number;
}

/** Iterations of one run; more than that are several runs, between which the caller may stop. */
export const CHUNK = 50;

/**
 * Of the mean eigenvalue of X^T X weighted by itself, added to its diagonal too: bounds the condition number where few rows
 * of X carry all weight (a matrix of low rank, inputs of outlier size), and is nothing beside the ridge elsewhere.
 */
export const RELATIVE_RIDGE = 1e-3;
/** What the inverse may be off, relative, in its worst direction; the next iteration corrects it. */
const INVERSE_TOLERANCE = 1e-5;
/** Steps to the best rank 1 of |P|; each shrinks the error some hundredfold, since |P| of a large matrix is close to rank 1. */
export const POWER_STEPS = 3;
/** The diagonal of X^T X is 1 up to rounding. */
const ROUNDING_ROOM = 1.001;
/** Keeps the division by a factor's size defined when the factor has vanished. */
const TINY = 1e-30;

/** Steps of the inverse at the smallest shift; larger ones converge sooner and stay converged. */
function inverseSteps({ ridge, smallestRho }: AdmmVariant): number {
  return stepsNeeded(ridge + smallestRho, largestEigenvalue(ridge + smallestRho), INVERSE_TOLERANCE);
}

/** Of a leading block of at most LEAF rows of X^T X + shift I: its trace bounds it. */
function largestEigenvalue(shift: number): number {
  return LEAF * ROUNDING_ROOM + shift;
}

/** rho and the inverse's coefficients. */
function scheduleWidth(variant: AdmmVariant): number {
  return 1 + 2 * inverseSteps(variant);
}

/** One factor between iterations. */
interface Factor {
  /** A, the projected variable [n, rank]. */
  readonly projected: Value;
  /** U, the scaled dual [n, rank]. */
  readonly dual: Value;
  /** A with equal column norms; A itself when the middle scale is one. */
  readonly columns: Value;
  /** Their norm, [1, 1]. */
  readonly norm: Value;
}

const FACTOR_FIELDS = ["projected", "dual", "columns", "norm"] as const;
type FactorField = (typeof FACTOR_FIELDS)[number];

/** State between runs by name: `out.projected` [rows, rank], `in.dual` [cols, rank], ... */
export type AdmmState = Record<`${"out" | "in"}.${FactorField}`, Float32Array>;

export interface ChunkResult {
  readonly state: AdmmState;
  /** Largest relative error of an inverse met on the way, |K^-1 K v - v| / |v| for a random v; NaN when all is lost. */
  readonly inverseError: number;
}

export interface AdmmProgram {
  /** Runs one iteration per entry of `rhos` (at most CHUNK). */
  run(weight: Float32Array, state: AdmmState, rhos: readonly number[]): Promise<ChunkResult>;
  dispose(): Promise<void>;
}

export interface AdmmOptions {
  readonly threads: number;
  /** Whether inverses are polished, for ill-conditioned matrices. @default false */
  readonly careful?: boolean;
}

/** Compiles the program of one shape. */
export async function compileAdmm(
  shape: AdmmShape,
  variant: AdmmVariant,
  options: AdmmOptions,
): Promise<AdmmProgram> {
  const graph = buildAdmm(shape, variant, options.careful ?? false);
  const program = await compile(graph, { threads: options.threads, spin: options.threads > 1 });
  return {
    run: (weight, state, rhos) => runChunk(program, shape, variant, weight, state, rhos),
    dispose: () => program.dispose(),
  };
}

async function runChunk(
  program: Program,
  { rank }: AdmmShape,
  variant: AdmmVariant,
  weight: Float32Array,
  state: AdmmState,
  rhos: readonly number[],
): Promise<ChunkResult> {
  const width = scheduleWidth(rank, variant);
  const schedule = new Float32Array(CHUNK * width);
  rhos.forEach((rho, row) => {
    schedule[row * width] = rho;
    schedule.set(shiftCoefficients(rho + variant.ridge, rank, variant), row * width + 1);
  });
  const trips = BigInt64Array.of(BigInt(rhos.length));
  const inverseError = Float32Array.of(0);
  const { inverseError: worst, ...next } = await program.run({
    weight,
    schedule,
    trips,
    inverseError,
    ...state,
  });
  return { state: next as AdmmState, inverseError: Math.sqrt((worst as Float32Array)[0] / rank) };
}

function shiftCoefficients(shift: number, variant: AdmmVariant): Float32Array {
  return inverseCoefficients(shift, largestEigenvalue(shift), inverseSteps(variant));
}

function buildAdmm({ rows, cols, rank }: AdmmShape, variant: AdmmVariant): Graph {
  const graph = new Graph();
  const weight = graph.input("weight", [rows, cols]);
  const schedule = graph.input("schedule", [CHUNK, scheduleWidth(variant)]);
  const trips = graph.input("trips", [], "i64");
  const identities = new Identities(graph);
  const inputs = (["out", "in"] as const).flatMap((side) =>
    fieldsOf(variant).map((field) => {
      const length = side === "out" ? rows : cols;
      return graph.input(`${side}.${field}`, field === "norm" ? [1, 1] : [length, rank]);
    }),
  );
  const fixed = constantSteps(graph, variant);
  const body = (trip: Value, carried: readonly Value[]): readonly Value[] => {
    const row = ops.gather(schedule, trip);
    const at = (i: number): Value => ops.slice(row, 0, i, i + 1);
    const first: Shift = {
      rho: at(0),
      steps: Array.from({ length: inverseSteps(variant) }, (_, i) => ({
        identity: at(1 + 2 * i),
        product: at(2 + 2 * i),
      })),
    };
    const shifts = Array.from({ length: variant.projections }, (_, i) =>
      i === 0 ? first : { rho: 1, steps: fixed },
    );
    const [outFactor, inFactor] = unpack(carried, variant);
    const nextOut = halfIteration(weight, false, outFactor, inFactor, shifts, variant, identities);
    const nextIn = halfIteration(weight, true, inFactor, nextOut, shifts, variant, identities);
    return [nextOut, nextIn].flatMap((factor) => fieldsOf(variant).map((field) => factor[field]));
  };
  const final = unpack(ops.loop({ trips, carried: inputs, body }), variant);
  (["out", "in"] as const).forEach((side, i) => {
    for (const field of fieldsOf(variant)) graph.output(`${side}.${field}`, final[i][field]);
  });
  return graph;
}

/** With a unit middle scale the equal-norm columns are the projected variable itself. */
function fieldsOf(variant: AdmmVariant): readonly FactorField[] {
  return variant.middle === "unit" ? ["projected", "dual", "norm"] : FACTOR_FIELDS;
}

function unpack(values: readonly Value[], variant: AdmmVariant): [Factor, Factor] {
  const fields = fieldsOf(variant);
  const factor = (from: number): Factor => {
    const named = Object.fromEntries(fields.map((field, i) => [field, values[from + i]])) as Record<
      string,
      Value
    >;
    return { ...named, columns: named.columns ?? named.projected } as unknown as Factor;
  };
  return [factor(0), factor(fields.length)];
}

interface Shift {
  readonly rho: Value | number;
  readonly steps: readonly InverseStep[];
}

/** The inverse's steps at rho = 1. */
function constantSteps(graph: Graph, variant: AdmmVariant): InverseStep[] {
  const coefficients = shiftCoefficients(1 + variant.ridge, variant);
  return Array.from({ length: inverseSteps(variant) }, (_, i) => ({
    identity: graph.scalar(coefficients[2 * i]),
    product: graph.scalar(coefficients[2 * i + 1]),
  }));
}

/** New state of `self` while `other` stands; `transposed` takes W^T in place of W. */
function halfIteration(
  weight: Value,
  transposed: boolean,
  self: Factor,
  other: Factor,
  shifts: readonly Shift[],
  variant: AdmmVariant,
  identities: Identities,
): Factor {
  const { columns, norm } = other;
  const gram = ops.div(ops.matmul(columns, columns, { transA: true }), ops.square(norm));
  const product = ops.matmul(weight, columns, { transA: transposed });
  const inverses = new Map<Shift, Value>();
  let state = self;
  for (const shift of shifts) {
    const known = [...inverses].find(([{ steps }]) => steps === shift.steps)?.[1];
    const inverse = known ?? ops.div(invertShifted(gram, shift, variant, identities), norm);
    inverses.set(shift, inverse);
    // Everything is multiplied by the norm and the inverse divided by it: W X / norm without touching W X.
    const pull = ops.mul(ops.sub(state.projected, state.dual), ops.mul(norm, shift.rho));
    const solved = ops.matmul(ops.add(product, pull), inverse);
    state = project(ops.add(solved, state.dual), variant);
  }
  return state;
}

function invertShifted(gram: Value, shift: Shift, variant: AdmmVariant, identities: Identities): Value {
  const amount =
    typeof shift.rho === "number" ? shift.rho + variant.ridge : ops.add(shift.rho, variant.ridge);
  return invert(ops.add(gram, ops.mul(identities.of(gram.shape[0]), amount)), shift.steps, identities);
}

/** Pi(p), and what it leaves as the new dual. */
function project(p: Value, { middle }: AdmmVariant): Factor {
  const rank = p.shape[1];
  const { graph } = p;
  const negative = ops.less(p, 0);
  const magnitudes = ops.abs(p);
  const ones = graph.root.constant(new Float32Array(rank).fill(middle === "unit" ? 1 / rank : 1), [rank, 1]);
  if (middle === "unit") {
    const mean = ops.matmul(magnitudes, ones);
    const projected = ops.where(negative, ops.neg(mean), mean);
    return { projected, columns: projected, dual: ops.sub(p, projected), norm: size(mean) };
  }
  let right = ones;
  let left = ones;
  for (let step = 0; step < POWER_STEPS; step++) {
    left = ops.matmul(magnitudes, right);
    left = ops.div(left, size(left));
    right = ops.matmul(magnitudes, left, { transA: true });
  }
  const columns = ops.where(negative, ops.neg(left), left);
  const projected = ops.mul(columns, ops.reshape(right, [1, rank]));
  const norm = graph.root.constant(Float32Array.of(1), [1, 1]);
  return { projected, columns, dual: ops.sub(p, projected), norm };
}

/** Euclidean norm of a vector, [1, 1]. */
function size(vector: Value): Value {
  return ops.sqrt(ops.add(ops.reshape(ops.reduceSum(ops.square(vector)), [1, 1]), TINY));
}
