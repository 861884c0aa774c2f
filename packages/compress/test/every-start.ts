/** Every method with every start, on matrices small enough to be quick. */
import {
  type FactoredLinear,
  normalVariates,
  type OneBitLinear,
  reconstruct,
  uniformWords,
  unpackSigns,
} from "@subbit/core";
import { type FactoriseMethod, type FactoriseOptions, methodForm } from "../src/factorise/index.js";

const NAMES: readonly FactoriseMethod[] = ["auto", "nanoquant", "dbf", "littlebit", "mdbf", "onebit"];

export interface Start {
  readonly name: string;
  readonly method: FactoriseMethod;
  readonly kind: "factored" | "onebit";
  readonly isAnnealed: boolean;
  /** Method, init and, where it can be chosen, envelope. */
  readonly options: FactoriseOptions;
}

export const STARTS: readonly Start[] = NAMES.flatMap((method) => {
  const form = methodForm(method);
  return form.inits.flatMap((init) =>
    (form.envelopes ? [1, 3] : [1]).map((envelope) => ({
      name: `${method} by ${init}${form.envelopes ? `, l = ${envelope}` : ""}`,
      method,
      kind: form.kind,
      isAnnealed: init === "admm",
      options: { method, init, ...(form.envelopes && { envelope }) },
    })),
  );
});

/** A rank where the method has one. */
export function sized(start: Start, rank: number, more: FactoriseOptions = {}): FactoriseOptions {
  const iterations = start.isAnnealed ? { iterations: 25 } : {};
  return { ...start.options, ...iterations, ...(start.kind === "factored" && { rank }), ...more };
}

export function denseOf(linear: FactoredLinear | OneBitLinear): Float32Array {
  if (linear.kind === "factored") return reconstruct(linear);
  const { cols, signs, outScales, inScales } = linear;
  return unpackSigns(signs).map((sign, at) => sign * outScales[Math.floor(at / cols)] * inScales[at % cols]);
}

export function relativeError(weight: Float32Array, made: Float32Array): number {
  let [lost, whole] = [0, 0];
  weight.forEach((value, i) => {
    lost += (value - made[i]) ** 2;
    whole += value ** 2;
  });
  return Math.sqrt(lost / whole);
}

export function randomSigns(count: number, stream: number): Float32Array {
  return Float32Array.from(uniformWords(count, { seed: 3, stream }), (word) => (word & 1 ? -1 : 1));
}

/** A Gram matrix [n, n] of strongly correlated inputs of different sizes. */
export function correlatedGram(n: number, seed: number): Float32Array {
  const mix = normalVariates(n * n, { seed });
  const sizes = normalVariates(n, { seed, stream: 1 }).map((value) => Math.exp(0.5 * value));
  const gram = new Float32Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += (mix[i * n + k] * mix[j * n + k]) / (k + 1);
      gram[i * n + j] = sum * sizes[i] * sizes[j];
    }
  }
  return gram;
}

/** tr(E G E^T) for E = a - b, [rows, cols]. */
export function metricEnergy(a: Float32Array, b: Float32Array, gram: Float32Array, cols: number): number {
  let energy = 0;
  for (let from = 0; from < a.length; from += cols) {
    for (let i = 0; i < cols; i++) {
      let sum = 0;
      for (let j = 0; j < cols; j++) sum += gram[i * cols + j] * (a[from + j] - b[from + j]);
      energy += sum * (a[from + i] - b[from + i]);
    }
  }
  return energy;
}
