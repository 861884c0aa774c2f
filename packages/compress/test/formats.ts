/** Tiny linears of every format, made by hand from a dense one: what the tests train and pack. */
import { type FactoredLinear, type FactoredPath, reconstruct, storedForm } from "@subbit/core";
import type { Factoriser } from "../src/factorise/index.js";
import { type FactorisedLinear, type PathLatents } from "../src/factorise/index.js";
import type { Random } from "../src/random.js";
import { stateOfFactorised } from "../src/student/from-factorised.js";
import type { DenseState, FactoredState, OneBitState } from "../src/student/linear-state.js";

const ITERATIONS = 20;
const RANKS = [12, 5] as const;
/** Share of the first term of an envelope that the others start at. */
const FURTHER_TERMS = 0.1;

export const FORMATS = [
  "onebit",
  "one path with a middle scale",
  "one path without, scales of 8 bits",
  "two paths of unequal rank",
  "envelopes of rank 2",
  "envelopes of rank 4, two paths of unequal rank, scales of 8 bits",
] as const;
export type Format = (typeof FORMATS)[number];

/** Close enough to the dense weight that training has something to improve. */
export async function handMade(
  format: Format,
  { weight, rows, cols, bias }: DenseState,
  factoriser: Factoriser,
  random: Random,
): Promise<FactoredState | OneBitState> {
  const scaleBits = format.endsWith("8 bits") ? 8 : 16;
  if (format === "onebit") {
    const outScales = Float32Array.from({ length: rows }, (_, row) => rowMean(weight, row, cols));
    const inScales = new Float32Array(cols).fill(1);
    return { kind: "onebit", rows, cols, fullLatents: weight.slice(), outScales, inScales, scaleBits };
  }
  const method = format.startsWith("one path without") ? "nanoquant" : "dbf";
  const envelope = Number(/rank (\d)/.exec(format)?.[1] ?? 1);
  const paths: FactoredPath[] = [];
  const latents: PathLatents[] = [];
  let left = weight;
  for (const rank of format.includes("two paths") ? RANKS : RANKS.slice(0, 1)) {
    const made = await factoriser.factorise(left, rows, cols, { method, rank, iterations: ITERATIONS });
    const { linear } = made as FactorisedLinear & { linear: FactoredLinear };
    paths.push(widened(linear.paths[0], envelope, random));
    latents.push(made.latents[0]);
    const product = reconstruct(linear);
    left = left.map((value, i) => value - product[i]);
  }
  const linear = storedForm({ kind: "factored", rows, cols, paths, scaleBits });
  return stateOfFactorised({ linear, latents, relError: 0, weightedRelError: 0, seconds: 0 }, bias);
}

/** The path with envelopes of rank l, whose further terms are small and of both signs. */
function widened(path: FactoredPath, envelope: number, random: Random): FactoredPath {
  if (envelope === 1) return path;
  const terms = (first: Float32Array) => {
    const all = new Float32Array(envelope * first.length);
    all.set(first);
    for (let i = first.length; i < all.length; i++) {
      all[i] = FURTHER_TERMS * (2 * random.next() - 1) * first[i % first.length];
    }
    return all;
  };
  return {
    ...path,
    envelope,
    outScales: terms(path.outScales),
    inScales: terms(path.inScales),
    midIn: terms(path.midIn!),
    midOut: terms(new Float32Array(path.rank).fill(1)),
  };
}

function rowMean(weight: Float32Array, row: number, cols: number): number {
  return weight
    .subarray(row * cols, (row + 1) * cols)
    .reduce((sum, value) => sum + Math.abs(value) / cols, 0);
}
