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
import { gramSums } from "./integer-gram.js";
import { type IntegerWeight, LARGEST_CODE, LEVELS, ZERO_POINT } from "./integer-weight.js";
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
  /**
   * Whether W X is a product of integers (integer-weight.ts), for a unit middle scale only: magnitudes of a factor are
   * then whole multiples of a step. @default false
   */
  readonly integer?: boolean;
}

/** Iterations of one run, at most; more than that are several runs, between which the caller may stop. */
export const CHUNK = 50;

/** Multiplications of one run, about: a few seconds, after which there is progress to tell. */
const CHUNK_PRODUCTS = 1e11;

/** Iterations of one run at a shape: what is carried is exact, so their number changes no result. */
export function chunkOf({ rows, cols, rank }: AdmmShape): number {
  const products = 2 * rows * cols * rank + 2 * (rows + cols) * rank * rank;
  return Math.min(CHUNK, Math.max(1, Math.floor(CHUNK_PRODUCTS / products)));
}

/** Steps to the best rank 1 of |P|; each shrinks the error some hundredfold, since |P| of a large matrix is close to rank 1. */
export const POWER_STEPS = 3;
/** Keeps the division by a factor's size defined when the factor has vanished. */
const TINY = 1e-30;
/** Times this every number that matters is beyond 1. */
const HUGE = 1e30;

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
  /** i8 [n, rank], A over step and equaliser; of integer programs, as the next. */
  readonly codes?: Value;
  /** [1, 1] */
  readonly step?: Value;
}

type FactorField = "projected" | "dual" | "columns" | "norm" | "step";

/** State between runs by name: `out.projected` [rows, rank], `in.dual` [cols, rank], ... */
export type AdmmState = Record<`${"out" | "in"}.${FactorField}`, Float32Array>;

export interface ChunkResult {
  readonly state: AdmmState;
  /** Largest relative error of an inverse met on the way, |K^-1 K v - v| / |v| for a random v; NaN when all is lost. */
  readonly inverseError: number;
}

/** The matrix as a program takes it: [rows, cols] floats, or codes for an integer one. */
export type AdmmWeight = Float32Array | IntegerWeight;

export interface AdmmProgram {
  /** Runs one iteration per entry of `rhos` (at most CHUNK). */
  run(weight: AdmmWeight, state: AdmmState, rhos: readonly number[]): Promise<ChunkResult>;
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
  weight: AdmmWeight,
  state: AdmmState,
  rhos: readonly number[],
): Promise<ChunkResult> {
  const schedule = new Float32Array(CHUNK * scheduleWidth(settings));
  rhos.forEach((rho, at) => schedule.set(scheduleRow(rho, settings), at * scheduleWidth(settings)));
  const trips = BigInt64Array.of(BigInt(rhos.length));
  const worst = new Float32Array(1);
  const feeds = weight instanceof Float32Array ? { weight } : weight;
  const { worst: met, ...next } = await program.run({ ...feeds, schedule, trips, worst, ...state });
  return { state: next as AdmmState, inverseError: Math.sqrt(met[0] / settings.rank) };
}

function buildAdmm({ rows, cols, rank }: AdmmShape, variant: AdmmVariant, settings: InverseSettings): Graph {
  const graph = new Graph();
  const sides = weightSides(graph, rows, cols, variant.integer ?? false);
  const schedule = graph.input("schedule", [CHUNK, scheduleWidth(settings)]);
  const trips = graph.input("trips", [], "i64");
  const worst = graph.input("worst", [1, 1]);
  const inputs = (["out", "in"] as const).flatMap((side) =>
    fieldsOf(variant).map((field) => {
      const length = side === "out" ? rows : cols;
      return graph.input(`${side}.${field}`, field === "norm" || field === "step" ? [1, 1] : [length, rank]);
    }),
  );
  const shared = {
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
    const nextOut = halfIteration(outFactor, inFactor, sides.out, sides.in, shifts, shared);
    const nextIn = halfIteration(inFactor, nextOut.factor, sides.in, sides.out, shifts, shared);
    const state = [nextOut.factor, nextIn.factor].flatMap((factor) => pack(factor, variant));
    return [[...nextOut.errors, ...nextIn.errors].reduce(ops.maximum, worstBefore), ...state];
  };
  const codes = variant.integer ? startCodes(unpack(inputs, variant), sides) : [];
  const carried = variant.integer ? withCodes(inputs, codes) : inputs;
  const [worstAfter, ...after] = ops.loop({ trips, carried: [worst, ...carried], body });
  graph.output("worst", worstAfter);
  const final = unpack(after, variant);
  (["out", "in"] as const).forEach((side, i) => {
    for (const field of fieldsOf(variant)) graph.output(`${side}.${field}`, final[i][field]!);
  });
  return graph;
}

/** The matrix as one half iteration reads it: W for the out factor, W^T for the in factor. */
interface WeightSide {
  readonly weight?: { readonly value: Value; readonly transposed: boolean };
  readonly codes?: { readonly values: Value; readonly scales: Value };
  /** [n, 1] of this side's own factor: its magnitudes are whole multiples of step times this. */
  readonly equaliser?: Value;
}

function weightSides(
  graph: Graph,
  rows: number,
  cols: number,
  integer: boolean,
): { readonly out: WeightSide; readonly in: WeightSide } {
  if (!integer) {
    const value = graph.input("weight", [rows, cols]);
    return { out: { weight: { value, transposed: false } }, in: { weight: { value, transposed: true } } };
  }
  const side = (name: "out" | "in", length: number, other: number): WeightSide => ({
    codes: {
      values: graph.input(`${name}Codes`, [length, other], "u8"),
      scales: graph.input(`${name}CodeScales`, [length, 1]),
    },
    equaliser: graph.input(`${name}Equaliser`, [length, 1]),
  });
  return { out: side("out", rows, cols), in: side("in", cols, rows) };
}

/** Codes of the factors that a run starts from. */
function startCodes(factors: readonly Factor[], sides: { out: WeightSide; in: WeightSide }): Value[] {
  return [sides.out, sides.in].map(({ equaliser }, i) =>
    ops.cast(ops.round(ops.div(factors[i].projected, ops.mul(factors[i].step!, equaliser!))), "i8"),
  );
}

/** Codes stand behind the fields of their factor. */
function withCodes(inputs: readonly Value[], codes: readonly Value[]): Value[] {
  const half = inputs.length / 2;
  return [...inputs.slice(0, half), codes[0], ...inputs.slice(half), codes[1]];
}

/** With a unit middle scale the equal-norm columns are the projected variable itself. */
function fieldsOf(variant: AdmmVariant): readonly FactorField[] {
  if (variant.middle === "free") return ["projected", "dual", "columns", "norm"];
  return variant.integer ? ["projected", "dual", "norm", "step"] : ["projected", "dual", "norm"];
}

function pack(factor: Factor, variant: AdmmVariant): Value[] {
  const values = fieldsOf(variant).map((field) => factor[field]!);
  return factor.codes ? [...values, factor.codes] : values;
}

function unpack(values: readonly Value[], variant: AdmmVariant): [Factor, Factor] {
  const fields = fieldsOf(variant);
  // The program's inputs have no codes yet.
  const stride = values.length / 2;
  const factor = (from: number): Factor => {
    const named = Object.fromEntries(fields.map((field, i) => [field, values[from + i]])) as Record<
      string,
      Value
    >;
    const codes = stride > fields.length ? { codes: values[from + fields.length] } : {};
    return { ...named, ...codes, columns: named.columns ?? named.projected } as unknown as Factor;
  };
  return [factor(0), factor(stride)];
}

/** What all half iterations share. */
interface Shared {
  readonly variant: AdmmVariant;
  readonly settings: InverseSettings;
  readonly identities: Identities;
  readonly probe: Value;
}

/** New state of `self` while `other` stands, and the errors of the inverses. */
function halfIteration(
  self: Factor,
  other: Factor,
  side: WeightSide,
  otherSide: WeightSide,
  shifts: readonly Shift[],
  { variant, settings, identities, probe }: Shared,
): { readonly factor: Factor; readonly errors: readonly Value[] } {
  const { norm } = other;
  const gram = unitGram(other, otherSide);
  const product = timesFactor(side, other);
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
    const p = ops.add(solved, factor.dual);
    factor = side.equaliser ? projectOntoSteps(p, side.equaliser) : project(p, variant);
  }
  return { factor, errors };
}

/** X^T X over its diagonal, for X of columns of equal norm. */
function unitGram({ columns, codes, norm }: Factor, { equaliser }: WeightSide): Value {
  if (!codes || !equaliser) return ops.div(ops.matmul(columns, columns, { transA: true }), ops.square(norm));
  // The square of a magnitude m is shared between two codes: m / equaliser stands in the factor's own, m * equaliser here.
  const sizes = ops.abs(ops.slice(columns, 1, 0, 1));
  const shares = ops.mul(sizes, equaliser);
  const largest = ops.reshape(ops.reduceMax(shares), [1, 1]);
  const weights = ops.round(ops.mul(ops.div(shares, largest), LARGEST_CODE));
  const levels = ops.abs(ops.cast(ops.slice(codes, 1, 0, 1), "f32"));
  return ops.div(gramSums(codes, weights), ops.reshape(ops.reduceSum(ops.mul(weights, levels)), [1, 1]));
}

/** W X (or W^T X). */
function timesFactor({ weight, codes }: WeightSide, { columns, codes: factor, step }: Factor): Value {
  if (weight) return ops.matmul(weight.value, columns, { transA: weight.transposed });
  const sums = ops.cast(ops.matmulInteger(codes!.values, factor!, ZERO_POINT), "f32");
  return ops.mul(sums, ops.mul(codes!.scales, step!));
}

/** As `project` for a unit middle scale, magnitudes rounded to 1..LEVELS times step * equaliser. */
function projectOntoSteps(p: Value, equaliser: Value): Factor {
  const rank = p.shape[1];
  const ones = p.graph.root.constant(new Float32Array(rank).fill(1 / rank), [rank, 1]);
  const mean = ops.div(ops.matmul(ops.abs(p), ones), equaliser);
  const step = ops.add(ops.mul(ops.reshape(ops.reduceMax(mean), [1, 1]), 1 / LEVELS), TINY);
  const levels = ops.clip(ops.round(ops.div(mean, step)), 1, LEVELS);
  // Cheaper than a choice; a value of exactly zero belongs to a row of zeros.
  const signs = ops.clip(ops.mul(p, HUGE), -1, 1);
  const magnitudes = ops.mul(levels, ops.mul(step, equaliser));
  const projected = ops.mul(signs, magnitudes);
  return {
    projected,
    columns: projected,
    dual: ops.sub(p, projected),
    norm: size(magnitudes),
    codes: ops.cast(ops.mul(signs, levels), "i8"),
    step,
  };
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
