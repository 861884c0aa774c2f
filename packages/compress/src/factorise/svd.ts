/**
 * Leading singular triplets by randomised subspace iteration (Halko, Martinsson and Tropp, 2011, algorithm 4.4) with the
 * products on the engine, CholeskyQR between them and a Rayleigh-Ritz step at the end. Deterministic for a seed.
 */
import { normalVariates } from "@subbit/core";
import { compile, Graph, ops, type Program } from "@subbit/engine";
import type { AdmmShape } from "./admm-program.js";
import { orthonormaliser } from "./cholesky.js";
import { oneOff } from "./products.js";
import type { Programs } from "./programs.js";
import { symmetricEigen } from "./symmetric-eigen.js";
import type { Schedule } from "./types.js";

interface Effort {
  /** Columns beyond the rank; slack lets the last wanted triplets converge. */
  readonly oversample: number;
  /** Products with W^T W. */
  readonly rounds: number;
}

/** The spectra of weights are flat, so that what torch's svd_lowrank takes by default (as LittleBit's code does) is too few. */
const EFFORTS: Readonly<Record<Schedule, Effort>> = {
  tuned: { oversample: 10, rounds: 6 },
  official: { oversample: 0, rounds: 3 },
};
/** Singular values below this share of the first one are rounding. */
const NEGLIGIBLE = 1e-6;

export interface TruncatedSvd {
  /** [rank], descending. */
  readonly values: Float32Array;
  /** [rows, rank] */
  readonly left: Float32Array;
  /** [cols, rank] */
  readonly right: Float32Array;
}

/** The first `shape.rank` triplets of weight [rows, cols]; rank at most min(rows, cols). */
export async function truncatedSvd(
  weight: Float32Array,
  shape: AdmmShape,
  programs: Programs,
  seed: number,
  schedule: Schedule = "tuned",
): Promise<TruncatedSvd> {
  const { rows, cols, rank } = shape;
  const { oversample, rounds } = EFFORTS[schedule];
  const width = Math.min(rank + oversample, rows, cols);
  const at = { rows, cols, rank: width };
  const forward = await programs.once("svd forward", at, () => compileSide(at, false, programs.threads));
  const backward = await programs.once("svd backward", at, () => compileSide(at, true, programs.threads));
  const identity = new Float32Array(width * width);
  for (let i = 0; i < width; i++) identity[i * width + i] = 1;
  let basis: Float32Array = normalVariates(cols * width, { seed });
  let mixing: Float32Array = identity;
  for (let round = 0; round < rounds; round++) {
    for (const program of [forward, backward]) {
      const made = await program.run({ weight, basis, mixing });
      basis = made.product;
      mixing = orthonormaliser(made.gram, width);
    }
  }
  // V = basis mixing has orthonormal columns; with W V = U S E^T, the triplets of W are U, S and V E.
  const { product, gram } = (await forward.run({ weight, basis, mixing })) as Record<string, Float32Array>;
  const { values, vectors } = symmetricEigen(gram, width);
  const rotation = new Float32Array(width * rank);
  for (let i = 0; i < width; i++) {
    for (let k = 0; k < rank; k++) rotation[i * rank + k] = vectors[k * width + i];
  }
  const singular = Float32Array.from({ length: rank }, (_, k) => Math.sqrt(Math.max(0, values[k])));
  const finish = await programs.once(`svd finish ${width}`, shape, () =>
    compileFinish(shape, width, programs.threads),
  );
  const rotated = await finish.run({ basis, mixing, product: product, rotation });
  const floor = (singular[0] ?? 0) * NEGLIGIBLE;
  const kept = singular.map((value) => (value > floor ? value : 0));
  const left = rotated.left.map((value, i) => {
    const size = kept[i % rank];
    return size > 0 ? value / size : 0;
  });
  return { values: kept, left, right: rotated.right };
}

/** `product` = W (basis mixing), or W^T in its place, and `gram` = product^T product. */
function compileSide(
  { rows, cols, rank }: AdmmShape,
  transposed: boolean,
  threads: number,
): Promise<Program> {
  const graph = new Graph();
  const weight = graph.input("weight", [rows, cols]);
  const basis = graph.input("basis", [transposed ? rows : cols, rank]);
  const mixing = graph.input("mixing", [rank, rank]);
  const product = ops.matmul(weight, ops.matmul(basis, mixing), { transA: transposed });
  graph.output("product", product);
  graph.output("gram", ops.matmul(product, product, { transA: true }));
  return compile(graph, oneOff(threads));
}

/** `left` [rows, rank] = product rotation, `right` [cols, rank] = basis mixing rotation. */
function compileFinish({ rows, cols, rank }: AdmmShape, width: number, threads: number): Promise<Program> {
  const graph = new Graph();
  const basis = graph.input("basis", [cols, width]);
  const mixing = graph.input("mixing", [width, width]);
  const product = graph.input("product", [rows, width]);
  const rotation = graph.input("rotation", [width, rank]);
  graph.output("left", ops.matmul(product, rotation));
  graph.output("right", ops.matmul(basis, ops.matmul(mixing, rotation)));
  return compile(graph, oneOff(threads));
}
