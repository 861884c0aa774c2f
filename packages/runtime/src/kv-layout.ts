/** Sizes of the KV cache and of what attention keeps in scratch memory (layouts: abi.ts). */
import { ATTENTION_PARTS_LONG, ATTENTION_ROWS, HEAD_PAD, KEY_BLOCK, STATE_HEAD } from "./abi.js";

/** Bits of a number of the KV cache: f32, binary16, or integers with one step size a head and position. */
export type KvBits = 32 | 16 | 8;
export const KV_BITS: readonly KvBits[] = [32, 16, 8];

export function paddedHead(headDim: number): number {
  return Math.ceil(headDim / HEAD_PAD) * HEAD_PAD;
}

/** Bytes of KEY_BLOCK keys (or values) of one head. */
export function kvBlockBytes(bits: number, headDim: number): number {
  const numbers = (paddedHead(headDim) * KEY_BLOCK * bits) / 8;
  return bits === 8 ? numbers + KEY_BLOCK * 4 : numbers;
}

/** Bytes of the keys (or values) of one layer. */
export function kvLayerBytes(bits: number, kvHeads: number, headDim: number, capacity: number): number {
  return kvHeads * (capacity / KEY_BLOCK) * kvBlockBytes(bits, headDim);
}

/** Bytes of the state of one row of queries. */
export function stateBytes(headDim: number): number {
  return STATE_HEAD + paddedHead(headDim) * 4;
}

/** Bytes of the parts that threads of OP_ATTEND_TOKEN leave for each other. */
export function partsBytes(heads: number, headDim: number): number {
  return ATTENTION_PARTS_LONG * heads * stateBytes(headDim);
}

/** Bytes of scratch that a thread needs for attention: queries, scores, weights, a widened block, states twice. */
export function attentionScratchBytes(heads: number, kvHeads: number, headDim: number): number {
  const rows = Math.max(ATTENTION_ROWS, heads / kvHeads);
  const padded = paddedHead(headDim) * 4;
  return rows * (padded + KEY_BLOCK * 6 + 2 * stateBytes(headDim)) + padded * KEY_BLOCK;
}
