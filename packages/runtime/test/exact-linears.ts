/**
 * Core's slow forward of one vector, and beside every output the size it would have if signs were random: what errors are
 * relative to, since the outputs themselves may cancel.
 */
import { factoredForward, oneBitForward, signAt, type FactoredLinear, type OneBitLinear } from "@subbit/core";

export interface Exact {
  readonly y: number[];
  readonly size: number[];
}

const norm = (values: ArrayLike<number>): number =>
  Math.sqrt(Array.from(values).reduce((sum, v) => sum + v * v, 0));

export function exactFactored(linear: FactoredLinear, x: Float32Array): Exact {
  const { rows, cols } = linear;
  const power = new Float64Array(rows);
  for (const { rank, envelope, inSigns, inScales, midIn, midOut, outScales } of linear.paths) {
    const t = new Float64Array(rank);
    const inner = new Float64Array(rank);
    for (let j = 0; j < envelope; j++) {
      const scaled = Float64Array.from(x, (v, c) => v * inScales[j * cols + c]);
      for (let k = 0; k < rank; k++) {
        const g = midIn?.[j * rank + k] ?? 1;
        for (let c = 0; c < cols; c++) t[k] += g * signAt(inSigns, k, c) * scaled[c];
        inner[k] += (g * norm(scaled)) ** 2;
      }
    }
    for (let i = 0; i < envelope; i++) {
      let term = 0;
      for (let k = 0; k < rank; k++) term += (midOut?.[i * rank + k] ?? 1) ** 2 * (t[k] ** 2 + inner[k]);
      for (let r = 0; r < rows; r++) power[r] += outScales[i * rows + r] ** 2 * term;
    }
  }
  return { y: [...factoredForward(linear, x)], size: Array.from(power, Math.sqrt) };
}

export function exactOneBit(linear: OneBitLinear, x: Float32Array): Exact {
  const { rows, inScales, outScales, signs } = linear;
  const scaled = Float64Array.from(x, (v, c) => v * inScales[c]);
  const sums = Array.from({ length: rows }, (_, r) =>
    scaled.reduce((sum, v, c) => sum + outScales[r] * signAt(signs, r, c) * v, 0),
  );
  const mean = sums.reduce((a, b) => a + b, 0) / rows;
  // The norm divides errors by what it divides outputs by; of a single row nothing is left.
  const deviation = norm(sums.map((v) => v - mean)) / Math.sqrt(rows);
  const size = norm(scaled) / Math.max(deviation, Math.sqrt(1e-5));
  return { y: [...oneBitForward(linear, x)], size: Array.from(outScales, (h) => Math.abs(h) * size) };
}
