/**
 * How GGUF stores elements: in blocks of a fixed number of elements and bytes. Ids and sizes are those of ggml's type
 * table (ggml.h, ggml-common.h).
 */
import type { StoredDtype } from "../types.js";

export interface BlockType {
  readonly dtype: StoredDtype;
  /** Elements of a block. */
  readonly elements: number;
  /** Bytes of a block. */
  readonly bytes: number;
}

/** Types that are read, by ggml id. */
export const BLOCK_TYPES: ReadonlyMap<number, BlockType> = new Map([
  [0, { dtype: "F32", elements: 1, bytes: 4 }],
  [1, { dtype: "F16", elements: 1, bytes: 2 }],
  [2, { dtype: "Q4_0", elements: 32, bytes: 18 }],
  [3, { dtype: "Q4_1", elements: 32, bytes: 20 }],
  [6, { dtype: "Q5_0", elements: 32, bytes: 22 }],
  [7, { dtype: "Q5_1", elements: 32, bytes: 24 }],
  [8, { dtype: "Q8_0", elements: 32, bytes: 34 }],
  [10, { dtype: "Q2_K", elements: 256, bytes: 84 }],
  [11, { dtype: "Q3_K", elements: 256, bytes: 110 }],
  [12, { dtype: "Q4_K", elements: 256, bytes: 144 }],
  [13, { dtype: "Q5_K", elements: 256, bytes: 176 }],
  [14, { dtype: "Q6_K", elements: 256, bytes: 210 }],
  [24, { dtype: "I8", elements: 1, bytes: 1 }],
  [26, { dtype: "I32", elements: 1, bytes: 4 }],
  [27, { dtype: "I64", elements: 1, bytes: 8 }],
  [30, { dtype: "BF16", elements: 1, bytes: 2 }],
] as const);
