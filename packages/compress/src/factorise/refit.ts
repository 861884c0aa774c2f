/**
 * Least-squares refits of the scales of paths of l = 1, their signs standing: each of the three vectors has a closed form
 * while the other two stand. The matrix and the scales are folded, so the refit is the weighted one; with a Gram matrix it
 * minimises tr(E G E^T) instead of |E|^2.
 */
import type { AdmmShape } from "./admm-program.js";
import { conjugateGradients } from "./conjugate-gradients.js";
import type { Envelope } from "./methods/method.js";
import type { Programs } from "./programs.js";
import { dotsOf, residualOf } from "./row-slabs.js";
import { leftFactor, rightFactor, signedEnvelope, type SignPath } from "./sign-path.js";

/** Rounds over all vectors; ADMM ends so near the optimum that the second one changes the sixth digit. */
const ROUNDS = 2;
/** In another metric than the one in which the signs were sought there is more to gain. */
const METRIC_ROUNDS = 4;
/** Rounds over all paths, each against what the others leave. */
const JOINT_ROUNDS = 2;
/** Conjugate gradients: far below the 16 bits in which the scales are stored. */
const TOLERANCE = 1e-7;

export interface RefitTask {
  readonly programs: Programs;
  /** [cols, cols] */
  readonly gram?: Float32Array | undefined;
}

/** All paths with refitted scales, jointly. Paths with larger envelopes stay as they are. */
export async function refitPaths(
  weight: Float32Array,
  paths: readonly SignPath[],
  shapes: readonly AdmmShape[],
  task: RefitTask,
): Promise<SignPath[]> {
  const fitted = [...paths];
  let error = weight;
  for (const [p, path] of fitted.entries()) error = await subtract(error, path, shapes[p], task.programs);
  for (let round = 0; round < (paths.length > 1 ? JOINT_ROUNDS : 1); round++) {
    for (const [p, shape] of shapes.entries()) {
      const target = await subtract(error, fitted[p], shape, task.programs, -1);
      fitted[p] = await refitPath(target, fitted[p], shape, task);
      error = await subtract(target, fitted[p], shape, task.programs);
    }
  }
  return fitted;
}

/** weight - sign * (the path's matrix). */
export async function subtract(
  weight: Float32Array,
  path: SignPath,
  shape: AdmmShape,
  programs: Programs,
  sign: 1 | -1 = 1,
): Promise<Float32Array> {
  const left = leftFactor(path);
  if (sign < 0) for (let i = 0; i < left.length; i++) left[i] = -left[i];
  return residualOf({ weight, left, right: rightFactor(path), shape, programs });
}

/** The path with refitted scales. */
export async function refitPath(
  weight: Float32Array,
  path: SignPath,
  shape: AdmmShape,
  { programs, gram }: RefitTask,
): Promise<SignPath> {
  if ((path.envelope ?? 1) !== 1) return path;
  const equations = gram
    ? await metricEquations(weight, gram, shape, programs)
    : plainEquations(weight, shape, programs);
  let { outScales, inScales, midScales } = path;
  for (let round = 0; round < (gram ? METRIC_ROUNDS : ROUNDS); round++) {
    if (midScales) {
      const left = signedEnvelope(path.outLatents, 1, outScales);
      const right = signedEnvelope(path.inLatents, 1, inScales);
      midScales = await equations.middle(left, right, midScales);
    }
    const right = signedEnvelope(path.inLatents, 1, inScales, midScales);
    outScales = await equations.rows(signedEnvelope(path.outLatents, 1, outScales), right, outScales);
    inScales = await equations.cols(
      signedEnvelope(path.outLatents, 1, outScales),
      // Under a Gram matrix the equations are in the scales themselves, not in factors on them.
      gram ? signedEnvelope(path.inLatents, 1, new Float32Array(inScales.length).fill(1), midScales) : right,
      inScales,
    );
  }
  return { ...path, outScales, inScales, ...(midScales && { midScales }) };
}

/** Best scales of one kind while the others stand, from both factors and the scales so far. */
type Best = (left: Float32Array, right: Float32Array, scales: Float32Array) => Promise<Float32Array>;
type Equations = Readonly<Record<"rows" | "cols" | "middle", Best>>;

function plainEquations(weight: Float32Array, shape: AdmmShape, programs: Programs): Equations {
  return {
    rows: async (left, right, scales) => {
      const { rowDots, rowSquares } = await dotsOf({ weight, left, right, shape, programs });
      return rescaled(scales, rowDots, rowSquares);
    },
    cols: async (left, right, scales) => {
      const { colDots, colSquares } = await dotsOf({ weight, left, right, shape, programs });
      return rescaled(scales, colDots, colSquares);
    },
    middle: async (left, right, scales) => {
      const middle = await programs.middle(shape);
      const { matrix, vector } = await middle.run({ weight, left, right });
      return conjugateGradients(matrix, vector, scales, TOLERANCE);
    },
  };
}

async function metricEquations(
  target: Float32Array,
  gram: Float32Array,
  shape: AdmmShape,
  programs: Programs,
): Promise<Equations> {
  const { rows, cols } = shape;
  const weight = await programs.product(target, gram, { m: rows, k: cols, n: cols });
  const byRow = await programs.metric("rows", shape);
  const solved =
    (of: "cols" | "middle"): Best =>
    async (left, right, scales) => {
      const program = await programs.metric(of, shape);
      const { matrix, vector } = await program.run({ weight, left, right, gram });
      return conjugateGradients(matrix, vector, scales, TOLERANCE);
    };
  return {
    rows: async (left, right, scales) => {
      const { rowDots, rowSquares } = await byRow.run({ weight, left, right, gram });
      return rescaled(scales, rowDots, rowSquares);
    },
    cols: solved("cols"),
    middle: solved("middle"),
  };
}

/** The envelope of a full-rank sign matrix, refitted in the metric of a Gram matrix; `weight` [rows, cols] has its signs. */
export async function refitEnvelope(
  weight: Float32Array,
  { outScales, inScales }: Envelope,
  gram: Float32Array,
  programs: Programs,
): Promise<Envelope> {
  const [rows, cols] = [outScales.length, inScales.length];
  // S D(g) = S I D(g): a path of rank `cols` whose right signs are the identity.
  const square = { m: rows, k: cols, n: cols };
  const target = await programs.product(weight, gram, square);
  const signs = weight.map((value) => (value < 0 ? -1 : 1));
  let [out, into] = [outScales, inScales];
  for (let round = 0; round < METRIC_ROUNDS; round++) {
    const made = signs.map((sign, at) => sign * into[at % cols]);
    const turned = await programs.product(made, gram, square);
    const [dots, squares] = [rowSums(target, made, rows), rowSums(turned, made, rows)];
    out = out.map((scale, row) => (squares[row] > 0 ? dots[row] / squares[row] : scale));
    const left = signs.map((sign, at) => sign * out[Math.floor(at / cols)]);
    const matrix = await programs.product(left, left, { m: cols, k: rows, n: cols, transA: true });
    for (let at = 0; at < matrix.length; at++) matrix[at] *= gram[at];
    const vector = new Float64Array(cols);
    for (let at = 0; at < left.length; at++) vector[at % cols] += left[at] * target[at];
    into = conjugateGradients(matrix, Float32Array.from(vector), into, TOLERANCE);
  }
  return { outScales: out, inScales: into };
}

function rowSums(a: Float32Array, b: Float32Array, rows: number): Float64Array {
  const cols = a.length / rows;
  const sums = new Float64Array(rows);
  for (let at = 0; at < a.length; at++) sums[Math.floor(at / cols)] += a[at] * b[at];
  return sums;
}

/** Each scale times <W, Y> / <Y, Y> over its row; one whose row of Y is zero stays. */
function rescaled(scales: Float32Array, dots: Float32Array, squares: Float32Array): Float32Array {
  return scales.map((scale, i) => {
    const square = squares[i];
    return square > 0 ? scale * (dots[i] / square) : scale;
  });
}
