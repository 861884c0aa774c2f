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
import { normalVariates } from "@subbit/core";
import { compile, Graph, ops, type Program, type Value } from "@subbit/engine";
import { Identities } from "./inverse.js";
import {
  constantShift,
  type InverseSettings,
  scheduledShift,
  scheduleRow,
  scheduleWidth,
  type Shift,
  shiftedInverse,
} from "./shifted-inverse.js";

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
  /** Added to the diagonal of X^T X, whose entries are 1. */
  readonly ridge: number;
  /** The smallest rho of the schedule; ridge + this bounds the spectrum from below. */
  readonly smallestRho: number;
}

/** Iterations of one run; more than that are several runs, between which the caller may stop. */
export const CHUNK = 50;

/** Steps to the best rank 1 of |P|; each shrinks the error some hundredfold, since |P| of a large matrix is close to rank 1. */
export const POWER_STEPS = 3;
/** Keeps the division by a factor's size defined when the factor has vanished. */
const TINY = 1e-30;

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
  const { ridge, smallestRho } = variant;
  const settings = { rank: shape.rank, ridge, smallestRho, careful: options.careful ?? false };
  const graph = buildAdmm(shape, variant, settings);
  const program = await compile(graph, { threads: options.threads, spin: options.threads > 1 });
  return {
    run: (weight, state, rhos) => runChunk(program, settings, weight, state, rhos),
    dispose: () => program.dispose(),
  };
}

async function runChunk(
  program: Program,
  settings: InverseSettings,
  weight: Float32Array,
  state: AdmmState,
  rhos: readonly number[],
): Promise<ChunkResult> {
  const schedule = new Float32Array(CHUNK * scheduleWidth(settings));
  rhos.forEach((rho, at) => schedule.set(scheduleRow(rho, settings), at * scheduleWidth(settings)));
  const trips = BigInt64Array.of(BigInt(rhos.length));
  const worst = new Float32Array(1);
  const { worst: met, ...next } = await program.run({ weight, schedule, trips, worst, ...state });
  return { state: next as AdmmState, inverseError: Math.sqrt(met[0] / settings.rank) };
}

function buildAdmm({ rows, cols, rank }: AdmmShape, variant: AdmmVariant, settings: InverseSettings): Graph {
  const graph = new Graph();
  const weight = graph.input("weight", [rows, cols]);
  const schedule = graph.input("schedule", [CHUNK, scheduleWidth(settings)]);
  const trips = graph.input("trips", [], "i64");
  const worst = graph.input("worst", [1, 1]);
  const inputs = (["out", "in"] as const).flatMap((side) =>
    fieldsOf(variant).map((field) => {
      const length = side === "out" ? rows : cols;
      return graph.input(`${side}.${field}`, field === "norm" ? [1, 1] : [length, rank]);
    }),
  );
  const shared = {
    weight,
    variant,
    settings,
    identities: new Identities(graph),
    probe: graph.constant(normalVariates(rank, { seed: 0 }), [rank, 1]),
  };
  const later = constantShift(graph, 1, settings);
  const body = (trip: Value, [worstBefore, ...carried]: readonly Value[]): readonly Value[] => {
    const first = scheduledShift(ops.gather(schedule, trip), settings);
    const shifts = Array.from({ length: variant.projections }, (_, i) => (i === 0 ? first : later));
    const [outFactor, inFactor] = unpack(carried, variant);
    const nextOut = halfIteration(outFactor, inFactor, false, shifts, shared);
    const nextIn = halfIteration(inFactor, nextOut.factor, true, shifts, shared);
    const state = [nextOut.factor, nextIn.factor].flatMap((factor) =>
      fieldsOf(variant).map((field) => factor[field]),
    );
    return [[...nextOut.errors, ...nextIn.errors].reduce(ops.maximum, worstBefore), ...state];
  };
  const [worstAfter, ...after] = ops.loop({ trips, carried: [worst, ...inputs], body });
  graph.output("worst", worstAfter);
  const final = unpack(after, variant);
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

/** What all half iterations share. */
interface Shared {
  readonly weight: Value;
  readonly variant: AdmmVariant;
  readonly settings: InverseSettings;
  readonly identities: Identities;
  readonly probe: Value;
}

/** New state of `self` while `other` stands, and the errors of the inverses; `transposed` takes W^T in place of W. */
function halfIteration(
  self: Factor,
  { columns, norm }: Factor,
  transposed: boolean,
  shifts: readonly Shift[],
  { weight, variant, settings, identities, probe }: Shared,
): { readonly factor: Factor; readonly errors: readonly Value[] } {
  const gram = ops.div(ops.matmul(columns, columns, { transA: true }), ops.square(norm));
  const product = ops.matmul(weight, columns, { transA: transposed });
  const errors: Value[] = [];
  const inverses = new Map<Shift, Value>();
  const inverseOf = (shift: Shift): Value => {
    const known = inverses.get(shift);
    if (known) return known;
    const { inverse, error } = shiftedInverse(gram, shift, probe, settings, identities);
    errors.push(error);
    const scaled = ops.div(inverse, norm);
    inverses.set(shift, scaled);
    return scaled;
  };
  let factor = self;
  for (const shift of shifts) {
    // Everything is multiplied by the norm and the inverse divided by it: W X / norm without touching W X.
    const pull = ops.mul(ops.sub(factor.projected, factor.dual), ops.mul(norm, shift.rho));
    const solved = ops.matmul(ops.add(product, pull), inverseOf(shift));
    factor = project(ops.add(solved, factor.dual), variant);
  }
  return { factor, errors };
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
