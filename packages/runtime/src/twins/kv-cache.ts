/** Twin of the KV cache: an attention instruction's shape, and the places and formats of keys and values (layouts: abi.ts). */
import { f16BitsToF32, f32ToF16Bits } from "@subbit/core";
import {
  A_KEYS,
  A_NEW_KEYS,
  A_NEW_STRIDE,
  A_NEW_VALUES,
  A_SHAPE,
  A_VALUES,
  CTRL_POSITION,
  CTRL_TOKENS,
  KEY_BLOCK,
  SH_CAPACITY,
  SH_COS,
  SH_HEADS,
  SH_HEAD_DIM,
  SH_KV_BITS,
  SH_KV_HEADS,
  SH_ROTARY,
  SH_SCALE,
  SH_SIN,
  SH_SOFTCAP,
  SH_WINDOW,
} from "../abi.js";
import { kvBlockBytes, paddedHead } from "../kv-layout.js";
import { toIntegers } from "./integers.js";
import { control, floats, real, word, type MemoryViews } from "./memory.js";
import { rotate } from "./rotary.js";

const MAX_HALF = 65504;

export interface Shape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly padded: number;
  readonly capacity: number;
  readonly scale: number;
  readonly bits: number;
  readonly rotary: number;
  readonly cos: number;
  readonly sin: number;
  /** 0: none. */
  readonly window: number;
  /** 0: none; else times log2(e), as SH_SOFTCAP says. */
  readonly softcap: number;
}

export function shapeOf(m: MemoryViews, pc: number): Shape {
  const at = word(m, pc, A_SHAPE);
  const headDim = word(m, at, SH_HEAD_DIM);
  return {
    heads: word(m, at, SH_HEADS),
    kvHeads: word(m, at, SH_KV_HEADS),
    headDim,
    padded: paddedHead(headDim),
    capacity: word(m, at, SH_CAPACITY),
    scale: real(m, at, SH_SCALE),
    bits: word(m, at, SH_KV_BITS),
    rotary: word(m, at, SH_ROTARY),
    cos: floats(m, at, SH_COS),
    sin: floats(m, at, SH_SIN),
    window: word(m, at, SH_WINDOW),
    softcap: real(m, at, SH_SOFTCAP),
  };
}

/** Byte address of a block of head `head` in the cache that operand `cache` names. */
function blockAt(m: MemoryViews, pc: number, cache: number, shape: Shape, head: number, block: number) {
  const blocks = shape.capacity / KEY_BLOCK;
  return word(m, pc, cache) + (head * blocks + block) * kvBlockBytes(shape.bits, shape.headDim);
}

/** Feature i of the key in slot `slot` of a block, or of the value: index among the block's numbers. */
function place(shape: Shape, kind: "key" | "value", slot: number, i: number): number {
  const [outer, inner, width] = kind === "key" ? [i, slot, KEY_BLOCK] : [slot, i, shape.padded];
  return shape.bits === 8 ? ((outer >> 1) * width + inner) * 2 + (outer & 1) : outer * width + inner;
}

/** Keys or values of a block as they are stored: numbers [KEY_BLOCK][headDim padded] and, of 8 bits, steps [KEY_BLOCK]. */
export interface Block {
  readonly rows: readonly Float32Array[];
  readonly steps: Float32Array;
}

export function readBlock(
  m: MemoryViews,
  pc: number,
  kind: "key" | "value",
  shape: Shape,
  head: number,
  block: number,
): Block {
  const at = blockAt(m, pc, kind === "key" ? A_KEYS : A_VALUES, shape, head, block);
  const numbers = shape.padded * KEY_BLOCK;
  const rows = Array.from({ length: KEY_BLOCK }, (_, slot) => {
    const row = new Float32Array(shape.padded);
    for (let i = 0; i < shape.padded; i++) {
      const index = place(shape, kind, slot, i);
      if (shape.bits === 32) row[i] = m.f32[at / 4 + index];
      else if (shape.bits === 16) row[i] = f16BitsToF32(m.u16[at / 2 + index]);
      else row[i] = m.i8[at + index];
    }
    return row;
  });
  const steps = (at + numbers) / 4;
  return { rows, steps: shape.bits === 8 ? m.f32.slice(steps, steps + KEY_BLOCK) : new Float32Array(0) };
}

/** The new key and value of a token of the tile to their places. */
export function storeNew(m: MemoryViews, pc: number, shape: Shape, head: number, token: number): void {
  const position = control(m, CTRL_POSITION) + token;
  const from = token * word(m, pc, A_NEW_STRIDE) + head * shape.headDim;
  const newKey = floats(m, pc, A_NEW_KEYS) + from;
  const newValue = floats(m, pc, A_NEW_VALUES) + from;
  const key = new Float32Array(shape.padded);
  key.set(rotate(m.f32, newKey, shape.headDim, { ...shape, position }, 1));
  const value = new Float32Array(shape.padded);
  value.set(m.f32.subarray(newValue, newValue + shape.headDim));
  const [block, slot] = [Math.floor(position / KEY_BLOCK), position % KEY_BLOCK];
  storeRow(m, shape, "key", blockAt(m, pc, A_KEYS, shape, head, block), slot, key);
  storeRow(m, shape, "value", blockAt(m, pc, A_VALUES, shape, head, block), slot, value);
}

function storeRow(
  m: MemoryViews,
  shape: Shape,
  kind: "key" | "value",
  at: number,
  slot: number,
  row: Float32Array,
): void {
  if (shape.bits === 8) {
    const { integers, step } = toIntegers(row, 127);
    m.f32[(at + shape.padded * KEY_BLOCK) / 4 + slot] = step;
    integers.forEach((value, i) => (m.i8[at + place(shape, kind, slot, i)] = value));
    return;
  }
  row.forEach((value, i) => {
    const index = place(shape, kind, slot, i);
    if (shape.bits === 32) m.f32[at / 4 + index] = value;
    else m.u16[at / 2 + index] = f32ToF16Bits(Math.min(Math.max(value, -MAX_HALF), MAX_HALF));
  });
}

export function storeKv(m: MemoryViews, pc: number): void {
  const shape = shapeOf(m, pc);
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    for (let head = 0; head < shape.kvHeads; head++) storeNew(m, pc, shape, head, token);
  }
}
