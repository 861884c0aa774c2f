/** A safetensors reader of its own for tests: what the program wrote is not read back with the program's code. */
import { readFileSync } from "node:fs";

export interface TestTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** F32 and I32 tensors as numbers. */
  readonly values: Float32Array | Int32Array;
}

interface HeaderEntry {
  readonly dtype: string;
  readonly shape: number[];
  readonly data_offsets: [number, number];
}

export function readTensors(path: string): Map<string, TestTensor> {
  const file = readFileSync(path);
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + headerBytes).toString("utf8")) as Record<
    string,
    HeaderEntry
  >;
  const tensors = new Map<string, TestTensor>();
  for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(header)) {
    if (dtype !== "F32" && dtype !== "I32") continue;
    const bytes = Uint8Array.from(file.subarray(8 + headerBytes + offsets[0], 8 + headerBytes + offsets[1]));
    const values = dtype === "F32" ? new Float32Array(bytes.buffer) : new Int32Array(bytes.buffer);
    tensors.set(name, { dtype, shape, values });
  }
  return tensors;
}

export function maxAbsDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let max = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i] - b[i]);
    if (!(difference <= max)) max = difference;
  }
  return max;
}
