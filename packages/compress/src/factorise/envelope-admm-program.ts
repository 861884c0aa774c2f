/**
 * ADMM for `W ~ X_out X_in^T` with factors of signs times an envelope of rank l (MDBF, arXiv 2512.24545): the half
 * iteration of admm-program.ts with another projection, Pi_l(P) = sgn(P) o TSVD_l(|P|), and optionally in the metric G of
 * the inputs:
 *   outputs: V = (W G X + rho (A - U)) (X^T G X + (ridge + rho) I)^-1, columns of X of unit length in G;
 *   inputs:  G V S + (ridge + rho) V = G W^T X + rho (A - U), S = X^T X. In the eigenbasis of G its rows are independent
 *            systems l_i S + (ridge + rho) I, on which a few conjugate-gradient steps go on from the solution before.
 *            Of a large G only leading directions E are known. Then G stands for E l E^T + tail (I - E E^T) in the systems,
 *            what that is off for the solution before is taken from the right side, and the solution has the rows of E^T V
 *            above those of (I - E E^T) V: at rest it is that of G itself.
 *
 * With a unit middle scale the projection is the mean magnitude of each row, as there.
 *
 * The truncated SVD goes on from the envelope of the iteration before by alternating least squares, which is subspace
 * iteration in another gauge: iterates move little, so that one round of it keeps up.
 */
import { normalVariates } from "@subbit/core";
import { compile, Graph, ops, type Program, type Value } from "@subbit/engine";
import { type AdmmShape, CHUNK, type MiddleScale } from "./admm-program.js";
import { Identities, invert, type InverseStep, inverseCoefficients, stepsNeeded } from "./inverse.js";
import {
  constantShift,
  type InverseSettings,
  scheduledShift,
  scheduleRow,
  scheduleWidth,
  type Shift,
  shiftedInverse,
} from "./shifted-inverse.js";

export interface EnvelopeVariant {
  /** l; 1 with a unit middle scale. */
  readonly envelope: number;
  readonly middle: MiddleScale;
  /** Whether errors are measured in the metric of a Gram matrix of the inputs. */
  readonly metric: boolean;
  /** k, directions of the metric that are known; the rest goes by one eigenvalue (metric-basis.ts). @default all */
  readonly directions?: number;
  /** Projections per half iteration; those after the first run at rho = 1. */
  readonly projections: number;
  readonly ridge: number;
  readonly smallestRho: number;
}

/** Conjugate-gradient steps on the inputs' systems of one projection; 8 end at the same error as 3, 2 a thousandth above. */
const SOLVER_STEPS = 3;
/** On the diagonal of the l x l Gram matrices of an envelope's unit columns: bounds their condition number. */
const ENVELOPE_RIDGE = 1e-4;
const ENVELOPE_TOLERANCE = 1e-5;
const ROUNDING_ROOM = 1.01;
/** Keeps divisions defined where a factor has vanished. */
const TINY = 1e-30;

const FIELDS = ["projected", "dual", "left", "right"] as const;
type Field = (typeof FIELDS)[number];

/**
 * State between runs: A and U of either side, its envelope `left` [length, l] `right` [rank, l]; in a metric also
 * `in.solved`, the last solution in the eigenbasis.
 */
export type EnvelopeState = Record<`${"out" | "in"}.${Field}`, Float32Array> & {
  readonly "in.solved"?: Float32Array;
};

/** What a metric adds to the feeds. */
export interface MetricFeeds {
  /** G [cols, cols] */
  readonly gram: Float32Array;
  /** Its eigenvectors, one a column [cols, k], and eigenvalues [k, 1], or [k + cols, 1] with those of the rest. */
  readonly basis: Float32Array;
  readonly spectrum: Float32Array;
}

export interface EnvelopeProgram {
  /** Runs one iteration per entry of `rhos` (at most CHUNK); `weight` is W, or W G in a metric. */
  run(
    weight: Float32Array,
    state: EnvelopeState,
    rhos: readonly number[],
    metric: MetricFeeds | undefined,
  ): Promise<{ readonly state: EnvelopeState; readonly inverseError: number }>;
  dispose(): Promise<void>;
}

/** Compiles the program of one shape; `careful` polishes inverses. */
export async function compileEnvelopeAdmm(
  shape: AdmmShape,
  variant: EnvelopeVariant,
  options: { readonly threads: number; readonly careful: boolean },
): Promise<EnvelopeProgram> {
  const { ridge, smallestRho } = variant;
  const settings = { rank: shape.rank, ridge, smallestRho, careful: options.careful };
  const graph = new Builder(shape, variant, settings).build();
  const program = await compile(graph, { threads: options.threads, spin: options.threads > 1 });
  return {
    run: (weight, state, rhos, metric) => runChunk(program, settings, weight, state, rhos, metric),
    dispose: () => program.dispose(),
  };
}

async function runChunk(
  program: Program,
  settings: InverseSettings,
  weight: Float32Array,
  state: EnvelopeState,
  rhos: readonly number[],
  metric: MetricFeeds | undefined,
): Promise<{ state: EnvelopeState; inverseError: number }> {
  const width = scheduleWidth(settings);
  const schedule = new Float32Array(CHUNK * width);
  rhos.forEach((rho, at) => schedule.set(scheduleRow(rho, settings), at * width));
  const trips = BigInt64Array.of(BigInt(rhos.length));
  const feeds = { weight, schedule, trips, worst: new Float32Array(1), ...state, ...metric };
  const { worst: met, ...next } = await program.run(feeds);
  return { state: next as EnvelopeState, inverseError: Math.sqrt(met[0] / settings.rank) };
}

type Factor = Readonly<Record<Field, Value>>;

/** One iteration of one shape as a graph. */
class Builder {
  readonly #graph = new Graph();
  readonly #shape: AdmmShape;
  readonly #variant: EnvelopeVariant;
  readonly #settings: InverseSettings;
  readonly #identities: Identities;
  readonly #probe: Value;
  readonly #weight: Value;
  readonly #gram: Value | undefined;
  readonly #basis: Value | undefined;
  readonly #spectrum: Value | undefined;
  /** k */
  readonly #directions: number;
  /** Rows of the inputs' systems. */
  readonly #systems: number;
  readonly #envelopeSteps: readonly InverseStep[];
  readonly #errors: Value[] = [];

  constructor(shape: AdmmShape, variant: EnvelopeVariant, settings: InverseSettings) {
    const { rows, cols, rank } = shape;
    const graph = this.#graph;
    this.#shape = shape;
    this.#variant = variant;
    this.#settings = settings;
    this.#identities = new Identities(graph);
    this.#probe = graph.constant(normalVariates(rank, { seed: 0 }), [rank, 1]);
    this.#weight = graph.input("weight", [rows, cols]);
    this.#directions = variant.directions ?? cols;
    this.#systems = this.#directions === cols ? cols : this.#directions + cols;
    if (variant.metric) {
      this.#gram = graph.input("gram", [cols, cols]);
      this.#basis = graph.input("basis", [cols, this.#directions]);
      this.#spectrum = graph.input("spectrum", [this.#systems, 1]);
    }
    this.#envelopeSteps = envelopeSteps(graph, variant.envelope);
  }

  build(): Graph {
    const graph = this.#graph;
    const { rows, cols, rank } = this.#shape;
    const { envelope, projections, metric } = this.#variant;
    const schedule = graph.input("schedule", [CHUNK, scheduleWidth(this.#settings)]);
    const trips = graph.input("trips", [], "i64");
    const worst = graph.input("worst", [1, 1]);
    const inputs = (["out", "in"] as const).flatMap((side) => {
      const length = side === "out" ? rows : cols;
      const shapes = {
        projected: [length, rank],
        dual: [length, rank],
        left: [length, envelope],
        right: [rank, envelope],
      };
      return FIELDS.map((field) => graph.input(`${side}.${field}`, shapes[field]));
    });
    const solved = metric ? [graph.input("in.solved", [this.#systems, rank])] : [];
    const later = constantShift(graph, 1, this.#settings);
    const [worstAfter, ...after] = ops.loop({
      trips,
      carried: [worst, ...inputs, ...solved],
      body: (trip, [worstBefore, ...carried]) => {
        this.#errors.length = 0;
        const first = scheduledShift(ops.gather(schedule, trip), this.#settings);
        const shifts = Array.from({ length: projections }, (_, i) => (i === 0 ? first : later));
        const [out, into] = [factorAt(carried, 0), factorAt(carried, FIELDS.length)];
        const nextOut = this.#outputs(out, into, shifts);
        const next = metric
          ? this.#metricInputs(into, nextOut, carried[2 * FIELDS.length], shifts)
          : { factor: this.#inputs(into, nextOut, shifts) };
        const state = [nextOut, next.factor].flatMap((factor) => FIELDS.map((field) => factor[field]));
        return [
          this.#errors.reduce(ops.maximum, worstBefore),
          ...state,
          ...("solved" in next ? [next.solved] : []),
        ];
      },
    });
    graph.output("worst", worstAfter);
    (["out", "in"] as const).forEach((side, s) => {
      FIELDS.forEach((field, i) => graph.output(`${side}.${field}`, after[s * FIELDS.length + i]));
    });
    if (metric) graph.output("in.solved", after[2 * FIELDS.length]);
    return graph;
  }

  /** New outputs while the inputs stand. */
  #outputs(self: Factor, { projected }: Factor, shifts: readonly Shift[]): Factor {
    const gram = this.#gram;
    const turned = gram ? ops.matmul(gram, projected) : projected;
    const norms = columnNorms(projected, turned);
    const inner = ops.div(
      ops.div(ops.matmul(projected, turned, { transA: true }), norms),
      ops.transpose(norms),
    );
    return this.#solve(self, inner, ops.div(ops.matmul(this.#weight, projected), norms), shifts);
  }

  /** New inputs while the outputs stand. */
  #inputs(self: Factor, { projected }: Factor, shifts: readonly Shift[]): Factor {
    const columns = ops.div(projected, columnNorms(projected, projected));
    const inner = ops.matmul(columns, columns, { transA: true });
    return this.#solve(self, inner, ops.matmul(this.#weight, columns, { transA: true }), shifts);
  }

  #solve(self: Factor, gram: Value, product: Value, shifts: readonly Shift[]): Factor {
    const inverses = new Map<Shift, Value>();
    const inverseOf = (shift: Shift): Value => {
      const known = inverses.get(shift);
      if (known) return known;
      const { inverse, error } = shiftedInverse(gram, shift, this.#probe, this.#settings, this.#identities);
      this.#errors.push(error);
      inverses.set(shift, inverse);
      return inverse;
    };
    let factor = self;
    for (const shift of shifts) {
      const pull = ops.mul(ops.sub(factor.projected, factor.dual), shift.rho);
      const solution = ops.matmul(ops.add(product, pull), inverseOf(shift));
      factor = this.#project(ops.add(solution, factor.dual), factor.right);
    }
    return factor;
  }

  #metricInputs(
    self: Factor,
    { projected }: Factor,
    before: Value,
    shifts: readonly Shift[],
  ): { readonly factor: Factor; readonly solved: Value } {
    const columns = ops.div(projected, columnNorms(projected, projected));
    const inner = ops.matmul(columns, columns, { transA: true });
    const product = ops.matmul(this.#weight, columns, { transA: true });
    let factor = self;
    let solved = before;
    for (const { rho } of shifts) {
      const pull = ops.mul(ops.sub(factor.projected, factor.dual), rho);
      const whole = ops.add(product, pull);
      const right = this.#turned(
        this.#directions === this.#systems ? whole : ops.sub(whole, ops.matmul(this.#missed(solved), inner)),
      );
      const shift = typeof rho === "number" ? rho + this.#variant.ridge : ops.add(rho, this.#variant.ridge);
      solved = conjugateGradients(inner, this.#spectrum as Value, shift, right, solved);
      factor = this.#project(ops.add(this.#restored(solved), factor.dual), factor.right);
    }
    return { factor, solved };
  }

  /** x [cols, rank] as the rows of the systems. */
  #turned(x: Value): Value {
    const basis = this.#basis as Value;
    const top = ops.matmul(basis, x, { transA: true });
    if (this.#directions === this.#systems) return top;
    return ops.concat([top, ops.sub(x, ops.matmul(basis, top))], 0);
  }

  /** The reverse. */
  #restored(rows: Value): Value {
    const basis = this.#basis as Value;
    if (this.#directions === this.#systems) return ops.matmul(basis, rows);
    const top = ops.slice(rows, 0, 0, this.#directions);
    return ops.add(ops.matmul(basis, top), ops.slice(rows, 0, this.#directions));
  }

  /** (G - what stands for it) V for the V whose rows are `solved`. */
  #missed(solved: Value): Value {
    const known = this.#restored(ops.mul(solved, this.#spectrum as Value));
    return ops.sub(ops.matmul(this.#gram as Value, this.#restored(solved)), known);
  }

  /** Pi_l(p) by a round of alternating least squares from the middle scales before, and what it leaves as the new dual. */
  #project(p: Value, start: Value): Factor {
    const magnitudes = ops.abs(p);
    if (this.#variant.middle === "unit") return flattened(p, magnitudes);
    const leftOf = (right: Value): Value => this.#fit(ops.matmul(magnitudes, right), right);
    const rightOf = (left: Value): Value => this.#fit(ops.matmul(magnitudes, left, { transA: true }), left);
    const right = rightOf(unitColumns(leftOf(unitColumns(start))));
    const unit = unitColumns(right);
    const left = leftOf(unit);
    const envelope = ops.matmul(left, unit, { transB: true });
    const projected = ops.where(ops.less(p, 0), ops.neg(envelope), envelope);
    return { projected, dual: ops.sub(p, projected), left, right: unit };
  }

  /** product (X^T X)^-1 for X of unit columns. */
  #fit(product: Value, x: Value): Value {
    const { envelope } = this.#variant;
    if (envelope === 1) return product;
    const gram = ops.matmul(x, x, { transA: true });
    const shifted = ops.add(gram, ops.mul(this.#identities.of(envelope), ENVELOPE_RIDGE));
    return ops.matmul(product, invert(shifted, this.#envelopeSteps, this.#identities));
  }
}

function factorAt(values: readonly Value[], from: number): Factor {
  return Object.fromEntries(FIELDS.map((field, i) => [field, values[from + i]])) as Record<Field, Value>;
}

/** The projection for a unit middle scale: the mean magnitude of each row. */
function flattened(p: Value, magnitudes: Value): Factor {
  const rank = p.shape[1];
  const right = p.graph.root.constant(new Float32Array(rank).fill(1 / Math.sqrt(rank)), [rank, 1]);
  const left = ops.matmul(magnitudes, right);
  const mean = ops.mul(left, 1 / Math.sqrt(rank));
  const projected = ops.where(ops.less(p, 0), ops.neg(mean), mean);
  return { projected, dual: ops.sub(p, projected), left, right };
}

/** [rank], lengths of the columns of x in the metric that made `turned` = G x. */
function columnNorms(x: Value, turned: Value): Value {
  const squares = ops.reduceSum(ops.mul(x, turned), [0], { keepDims: true });
  return ops.sqrt(ops.add(ops.maximum(squares, 0), TINY));
}

function unitColumns(x: Value): Value {
  return ops.div(x, columnNorms(x, x));
}

/** Inverse steps for l x l Gram matrices of unit columns. */
function envelopeSteps(graph: Graph, envelope: number): InverseStep[] {
  const [low, high] = [ENVELOPE_RIDGE, envelope * ROUNDING_ROOM + ENVELOPE_RIDGE];
  const steps = stepsNeeded(low, high, ENVELOPE_TOLERANCE);
  const coefficients = inverseCoefficients(low, high, steps);
  return Array.from({ length: steps }, (_, i) => ({
    identity: graph.scalar(coefficients[2 * i]),
    product: graph.scalar(coefficients[2 * i + 1]),
  }));
}

/** Steps from `start` to the rows v_i of (spectrum_i gram + shift I) v_i = right_i, each row a system of its own. */
function conjugateGradients(
  gram: Value,
  spectrum: Value,
  shift: Value | number,
  right: Value,
  start: Value,
): Value {
  const multiply = (x: Value): Value => ops.add(ops.matmul(ops.mul(x, spectrum), gram), ops.mul(x, shift));
  const energyOf = (a: Value, b: Value): Value =>
    ops.add(ops.reduceSum(ops.mul(a, b), [1], { keepDims: true }), TINY);
  let x = start;
  let residual = ops.sub(right, multiply(start));
  let direction = residual;
  let energy = energyOf(residual, residual);
  for (let step = 0; step < SOLVER_STEPS; step++) {
    const image = multiply(direction);
    const length = ops.div(energy, energyOf(direction, image));
    x = ops.add(x, ops.mul(direction, length));
    if (step + 1 === SOLVER_STEPS) break;
    residual = ops.sub(residual, ops.mul(image, length));
    const next = energyOf(residual, residual);
    direction = ops.add(residual, ops.mul(direction, ops.div(next, energy)));
    energy = next;
  }
  return x;
}
