// The layout of the KV cache (said in abi.ts), and writing to it.
import {
  A_KEYS,
  A_NEW_KEYS,
  A_NEW_STRIDE,
  A_NEW_VALUES,
  A_SHAPE,
  A_VALUES,
  CTRL_POSITION,
  HEAD_PAD,
  KEY_BLOCK,
  SH_CAPACITY,
  SH_COS,
  SH_HEAD_DIM,
  SH_KV_BITS,
  SH_KV_HEADS,
  SH_ROTARY,
  SH_SIN,
} from "../src/abi";
import { narrowToHalf } from "./half";
import { toIntegers } from "./integers";
import { rotate } from "./rotary";
import { number, scratch, tokens, word } from "./words";

// @ts-ignore: decorator
@inline
export function paddedHead(headDim: usize): usize {
  return (headDim + HEAD_PAD - 1) & ~(HEAD_PAD - 1);
}

/** Bytes of a block of keys or values of one head. */
// @ts-ignore: decorator
@inline
export function blockBytes(bits: i32, padded: usize): usize {
  const numbers = (padded * KEY_BLOCK * bits) >> 3;
  return bits == 8 ? numbers + (KEY_BLOCK << 2) : numbers;
}

/** Bytes of the keys or values of one head. */
// @ts-ignore: decorator
@inline
export function headBytes(shape: usize): usize {
  const padded = paddedHead(word(shape, SH_HEAD_DIM));
  return (word(shape, SH_CAPACITY) / KEY_BLOCK) * blockBytes(number(shape, SH_KV_BITS), padded);
}

/**
 * The new key and value of kv head `head` of the tile's token `token` to their places.
 * @param kinds 1: the key, 2: the value, 3: both
 * @param row scratch for 6 bytes a padded feature
 */
export function storeNew(pc: usize, head: i32, token: i32, kinds: i32, row: usize): void {
  const shape = word(pc, A_SHAPE),
    headDim = word(shape, SH_HEAD_DIM),
    padded = paddedHead(headDim),
    bits = number(shape, SH_KV_BITS),
    position = load<i32>(CTRL_POSITION) + token;
  const from = (<usize>token * word(pc, A_NEW_STRIDE) + <usize>head * headDim) << 2;
  const to =
    <usize>head * headBytes(shape) + <usize>(position / KEY_BLOCK) * blockBytes(bits, padded);
  memory.fill(row, 0, padded << 2);
  if (kinds & 1) {
    const rotary = word(shape, SH_ROTARY),
      angle = (<usize>position * (rotary >> 1)) << 2;
    rotate(
      word(pc, A_NEW_KEYS) + from,
      row,
      word(shape, SH_COS) + angle,
      word(shape, SH_SIN) + angle,
      rotary,
      headDim,
      1.0,
    );
    // Keys: the feature is the outer axis.
    storeRow(row, word(pc, A_KEYS) + to, position & (KEY_BLOCK - 1), 1, KEY_BLOCK, padded, bits);
  }
  if (kinds & 2) {
    memory.copy(row, word(pc, A_NEW_VALUES) + from, headDim << 2);
    storeRow(row, word(pc, A_VALUES) + to, position & (KEY_BLOCK - 1), padded, 1, padded, bits);
  }
}

/** Number i of the row goes to place slot * slotStep + i * step of the block. */
function storeRow(
  row: usize,
  block: usize,
  slot: usize,
  slotStep: usize,
  step: usize,
  padded: usize,
  bits: i32,
): void {
  if (bits == 32) {
    let to = block + ((slot * slotStep) << 2);
    if (step == 1) {
      memory.copy(to, row, padded << 2);
      return;
    }
    for (const end = row + (padded << 2); row < end; row += 4) {
      store<f32>(to, load<f32>(row));
      to += step << 2;
    }
  } else if (bits == 16) {
    const halves = row + (padded << 2);
    for (let i: usize = 0; i < padded << 2; i += 16) v128.store(halves + i, narrowToHalf(v128.load(row + i)));
    let to = block + ((slot * slotStep) << 1);
    for (let i: usize = 0; i < padded << 2; i += 4) {
      store<u16>(to, load<u16>(halves + i));
      to += step << 1;
    }
  } else {
    storeIntegers(row, block, slot, step, padded);
  }
}

/** 8-bit blocks interleave the neighbours along their outer axis: features of keys, positions of values. */
function storeIntegers(row: usize, block: usize, slot: usize, step: usize, padded: usize): void {
  const integers = row + (padded << 2);
  store<f32>(block + padded * KEY_BLOCK + (slot << 2), toIntegers(row, integers, padded, 127.0));
  if (step == 1) {
    let to = block + (((slot >> 1) * padded) << 1) + (slot & 1);
    for (let i: usize = 0; i < padded; i++) {
      store<u8>(to, load<u8>(integers + (i << 1)));
      to += 2;
    }
  } else {
    let to = block + (slot << 1);
    for (let i: usize = 0; i < padded; i += 2) {
      store<u8>(to, load<u8>(integers + (i << 1)));
      store<u8>(to, load<u8>(integers + (i << 1), 2), 1);
      to += KEY_BLOCK << 1;
    }
  }
}

/** OP_STORE_KV. Units are blocks of one head's keys or values, so that no two threads write to one cache line. */
export function storeKv(pc: usize, thread: i32, threads: i32): void {
  const heads = number(word(pc, A_SHAPE), SH_KV_HEADS),
    position = load<i32>(CTRL_POSITION),
    count = tokens(),
    row = scratch(thread);
  const first = position / KEY_BLOCK,
    blocks = (position + count - 1) / KEY_BLOCK + 1 - first;
  for (let unit = thread; unit < blocks * heads * 2; unit += threads) {
    const kind = 1 + (unit & 1),
      head = (unit >> 1) % heads,
      start = (first + (unit >> 1) / heads) * KEY_BLOCK - position;
    for (let token = max(0, start); token < min(count, start + KEY_BLOCK); token++) {
      storeNew(pc, head, token, kind, row);
    }
  }
}
