import { normalVariates } from "@subbit/core";
import { EigenvalueDecomposition, inverse, Matrix } from "ml-matrix";
import { afterAll, describe, expect, it } from "vitest";
import { correlatedGram } from "../../test/every-start.js";
import { compileEnvelopeAdmm, type EnvelopeState, type EnvelopeVariant } from "./envelope-admm-program.js";
import { RELATIVE_RIDGE } from "./shifted-inverse.js";

/** Single precision through inverses of condition number up to about 50, twice an iteration. */
const TOLERANCE = 2e-3;
/** On the Gram matrices of envelopes, as the program has it. */
const ENVELOPE_RIDGE = 1e-4;
/** Up to here the program's conjugate-gradient steps solve its systems to the end. */
const EXACT_RANK = 3;

const programs: { dispose(): Promise<void> }[] = [];
afterAll(async () => {
  for (const program of programs) await program.dispose();
});

interface Twin {
  /** A */
  projected: Matrix;
  /** U */
  dual: Matrix;
  /** Middle scales from which the truncated SVD goes on. */
  right: Matrix;
}

const settings = { middle: "free", ridge: 0.03, smallestRho: 0.05 } as const;

describe.each<[string, Omit<EnvelopeVariant, "metric">, boolean, number]>([
  ["one projection, l = 1", { ...settings, envelope: 1, projections: 1 }, false, 7],
  ["three projections, l = 2", { ...settings, envelope: 2, projections: 3 }, false, 7],
  ["one projection, l = 3", { ...settings, envelope: 3, projections: 1 }, false, 20],
  ["one projection in a metric, l = 1", { ...settings, envelope: 1, projections: 1 }, true, EXACT_RANK],
  ["a unit middle scale", { ...settings, middle: "unit", envelope: 1, projections: 1 }, false, 7],
  [
    "a unit middle scale in a metric",
    { ...settings, middle: "unit", envelope: 1, projections: 1 },
    true,
    EXACT_RANK,
  ],
  ["three projections in a metric, l = 2", { ...settings, envelope: 2, projections: 3 }, true, EXACT_RANK],
])("envelope ADMM with %s", (_name, form, metric, rank) => {
  it.each([
    [9, 13],
    [33, 20],
  ])("takes the steps of its twin on a %i x %i matrix", async (rows, cols) => {
    const variant = { ...form, metric };
    const weight = normalVariates(rows * cols, { seed: rows });
    const state = startOf(rows, cols, rank, variant.envelope);
    const gram = metric ? ridged(correlatedGram(cols, 5), cols) : undefined;
    const program = await compileEnvelopeAdmm({ rows, cols, rank }, variant, { threads: 1, careful: false });
    programs.push(program);
    const w = Matrix.from1DArray(rows, cols, weight);
    const g = gram ? Matrix.from1DArray(cols, cols, gram) : Matrix.eye(cols);
    const rhos = [0.3, 0.7];
    const target = gram ? Float32Array.from(w.mmul(g).to1DArray()) : weight;
    const start = gram ? { ...state, "in.solved": new Float32Array(cols * rank) } : state;
    const found = await program.run(target, start, rhos, gram && eigenOf(g, gram));
    const out = twinOf(state, "out", rows, rank, variant.envelope);
    const into = twinOf(state, "in", cols, rank, variant.envelope);
    for (const rho of rhos) {
      half(w, out, into, { rho, variant, outMetric: Matrix.eye(rows), inMetric: g, metric });
      half(w.transpose(), into, out, {
        rho,
        variant,
        outMetric: g,
        inMetric: Matrix.eye(rows),
        metric: false,
      });
    }
    for (const [side, twin] of [
      ["out", out],
      ["in", into],
    ] as const) {
      expect(difference(found.state[`${side}.projected`], twin.projected)).toBeLessThan(TOLERANCE);
      expect(difference(found.state[`${side}.dual`], twin.dual)).toBeLessThan(TOLERANCE);
    }
  });
});

function startOf(rows: number, cols: number, rank: number, envelope: number): EnvelopeState {
  const side = (name: "out" | "in", length: number, stream: number) => {
    const random = (count: number, seed: number) => normalVariates(count, { seed, stream });
    return {
      [`${name}.projected`]: random(length * rank, 1),
      [`${name}.dual`]: random(length * rank, 2).map((value) => 0.3 * value),
      [`${name}.left`]: random(length * envelope, 3),
      // Well apart from one another, as truncated SVDs are.
      [`${name}.right`]: random(rank * envelope, 4).map((value, at) =>
        at % envelope === 0 ? Math.abs(value) : value,
      ),
    };
  };
  return { ...side("out", rows, 0), ...side("in", cols, 1) } as EnvelopeState;
}

function twinOf(
  state: EnvelopeState,
  side: "out" | "in",
  length: number,
  rank: number,
  envelope: number,
): Twin {
  return {
    projected: Matrix.from1DArray(length, rank, state[`${side}.projected`]),
    dual: Matrix.from1DArray(length, rank, state[`${side}.dual`]),
    right: Matrix.from1DArray(rank, envelope, state[`${side}.right`]),
  };
}

interface HalfStep {
  readonly rho: number;
  readonly variant: Omit<EnvelopeVariant, "metric">;
  /** Metric of the side that is solved for, and of the other one. */
  readonly outMetric: Matrix;
  readonly inMetric: Matrix;
  /** Whether the other side has a metric. */
  readonly metric: boolean;
}

/** `outMetric V K + shift V = outMetric W inMetric X + rho (A - U)`, by one dense solve of all unknowns. */
function half(w: Matrix, self: Twin, other: Twin, { rho, variant, outMetric, inMetric }: HalfStep): void {
  const turned = inMetric.mmul(other.projected);
  const norms = other.projected.columns
    ? Array.from({ length: other.projected.columns }, (_, k) =>
        Math.sqrt(
          Matrix.mul(other.projected, turned)
            .getColumn(k)
            .reduce((sum, v) => sum + v, 0),
        ),
      )
    : [];
  const unit = Matrix.diag(norms.map((norm) => 1 / norm));
  const x = other.projected.mmul(unit);
  const inner = x.transpose().mmul(inMetric).mmul(x);
  const product = outMetric.mmul(w).mmul(inMetric).mmul(x);
  // Only the closed form of the identity metric carries the relative ridge.
  const isPlain = Matrix.sub(outMetric, Matrix.eye(outMetric.rows)).norm() === 0;
  const relative = isPlain ? (RELATIVE_RIDGE * inner.norm() ** 2) / inner.rows : 0;
  for (let i = 0; i < variant.projections; i++) {
    const weight = i === 0 ? rho : 1;
    const right = Matrix.add(product, Matrix.sub(self.projected, self.dual).mul(weight));
    const solved = sylvester(outMetric, inner, weight + variant.ridge + relative, right);
    const p = Matrix.add(solved, self.dual);
    const { projected, right: next } =
      variant.middle === "unit" ? flattened(p, self.right) : project(p, self.right);
    self.projected = projected;
    self.dual = Matrix.sub(p, projected);
    self.right = next;
  }
}

/** V with G V K + shift V = R, by eigenvectors of both. */
function sylvester(g: Matrix, k: Matrix, shift: number, right: Matrix): Matrix {
  const [a, b] = [g, k].map((m) => new EigenvalueDecomposition(m, { assumeSymmetric: true }));
  const inside = a.eigenvectorMatrix.transpose().mmul(right).mmul(b.eigenvectorMatrix);
  for (let i = 0; i < inside.rows; i++) {
    for (let j = 0; j < inside.columns; j++) {
      inside.set(i, j, inside.get(i, j) / (a.realEigenvalues[i] * b.realEigenvalues[j] + shift));
    }
  }
  return a.eigenvectorMatrix.mmul(inside).mmul(b.eigenvectorMatrix.transpose());
}

/** sgn(p) o (one round of alternating least squares on |p|). */
function project(p: Matrix, start: Matrix): { projected: Matrix; right: Matrix } {
  const sizes = Matrix.abs(p.clone());
  const unit = (m: Matrix) =>
    m.mmul(Matrix.diag(Array.from({ length: m.columns }, (_, j) => 1 / Math.hypot(...m.getColumn(j)))));
  const fit = (product: Matrix, x: Matrix) =>
    x.columns === 1
      ? product
      : product.mmul(inverse(Matrix.add(x.transpose().mmul(x), Matrix.eye(x.columns).mul(ENVELOPE_RIDGE))));
  const leftOf = (right: Matrix) => fit(sizes.mmul(right), right);
  const rightOf = (left: Matrix) => fit(sizes.transpose().mmul(left), left);
  const right = unit(rightOf(unit(leftOf(unit(start)))));
  const envelope = leftOf(right).mmul(right.transpose());
  const projected = envelope.clone();
  for (let i = 0; i < p.rows; i++) {
    for (let j = 0; j < p.columns; j++) if (p.get(i, j) < 0) projected.set(i, j, -envelope.get(i, j));
  }
  return { projected, right };
}

/** sgn(p) o the mean magnitude of each row. */
function flattened(p: Matrix, right: Matrix): { projected: Matrix; right: Matrix } {
  const projected = p.clone();
  for (let i = 0; i < p.rows; i++) {
    const mean = p.getRow(i).reduce((sum, value) => sum + Math.abs(value), 0) / p.columns;
    for (let j = 0; j < p.columns; j++) projected.set(i, j, p.get(i, j) < 0 ? -mean : mean);
  }
  return { projected, right };
}

function ridged(gram: Float32Array, n: number): Float32Array {
  const mean = gram.reduce((sum, value, at) => sum + (at % (n + 1) === 0 ? value : 0), 0) / n;
  return gram.map((value, at) => value / mean + (at % (n + 1) === 0 ? 0.01 : 0));
}

function eigenOf(g: Matrix, gram: Float32Array) {
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(g, { assumeSymmetric: true });
  return {
    gram,
    basis: Float32Array.from(eigenvectorMatrix.to1DArray()),
    spectrum: Float32Array.from(realEigenvalues),
  };
}

function difference(got: Float32Array, want: Matrix): number {
  return want.to1DArray().reduce((worst, value, i) => Math.max(worst, Math.abs(value - got[i])), 0);
}
