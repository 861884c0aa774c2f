// Attention of one token, its key and value stored on the way: a single instruction without a barrier. Threads take parts of
// the blocks of all kv heads; whoever finishes the last part of a head adds its parts up, in their order.
import {
  A_KEYS,
  A_PARTS,
  A_SHAPE,
  A_VALUES,
  CTRL_POSITION,
  KEY_BLOCK,
  SH_COUNTERS,
  SH_HEADS,
  SH_HEAD_DIM,
  SH_KV_BITS,
  SH_KV_HEADS,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
} from "../src/abi";
import { attend, attendEnd, clearState, finishRow, firstBlock, fold, prepareQuery, stateBytes } from "./attend";
import { partCount, partOf, partStart } from "./attention-parts";
import { headBytes, paddedHead, storeNew } from "./kv-cache";
import { number, scratch, shareStart, word } from "./words";

export function attendToken(pc: usize, thread: i32, threads: i32): void {
  const shape = word(pc, A_SHAPE),
    kvHeads = number(shape, SH_KV_HEADS),
    position = load<i32>(CTRL_POSITION),
    blocks = position / KEY_BLOCK + 1 - firstBlock(shape, position);
  const items = kvHeads * blocks,
    parts = partCount(items);
  const last = shareStart(parts, thread + 1, threads);
  for (let part = shareStart(parts, thread, threads); part < last; part++) {
    const end = partStart(items, part + 1);
    for (let item = partStart(items, part); item < end; ) {
      const head = item / blocks,
        next = min(end, (head + 1) * blocks);
      attendPart(pc, thread, head, part, item - head * blocks, next - head * blocks, blocks);
      item = next;
    }
  }
  if (thread == threads - 1) {
    const stride = word(pc, W_DST_STRIDE),
      used = word(shape, SH_HEADS) * word(shape, SH_HEAD_DIM);
    memory.fill(word(pc, W_DST) + (used << 2), 0, (stride - used) << 2);
  }
}

/** Blocks [from, to) of the `blocks` that the token sees of a head. */
function attendPart(pc: usize, thread: i32, head: i32, part: i32, from: i32, to: i32, blocks: i32): void {
  const shape = word(pc, A_SHAPE),
    headDim = word(shape, SH_HEAD_DIM),
    padded = paddedHead(headDim),
    heads = number(shape, SH_HEADS),
    kvHeads = number(shape, SH_KV_HEADS),
    group = heads / kvHeads,
    position = load<i32>(CTRL_POSITION),
    skipped = firstBlock(shape, position),
    rowState = stateBytes(padded);
  const items = kvHeads * blocks,
    firstPart = partOf(items, head * blocks),
    lastPart = partOf(items, (head + 1) * blocks - 1);
  const queries = scratch(thread);
  const end = attendEnd(queries, group, padded, number(shape, SH_KV_BITS));
  const whole = from == 0 && to == blocks;
  const states = whole ? end : partStates(pc, part - firstPart, head, heads, group, rowState);
  const x = word(pc, W_SRC) + ((<usize>(head * group) * headDim) << 2);
  if (to == blocks) storeNew(pc, head, 0, 3, end);
  for (let h = 0; h < group; h++) {
    const state = states + <usize>h * rowState;
    prepareQuery(shape, x + ((<usize>h * headDim) << 2), position, queries + <usize>h * (padded << 2), state);
    clearState(state, padded);
  }
  const offset = <usize>head * headBytes(shape);
  attend(
    shape,
    word(pc, A_KEYS) + offset,
    word(pc, A_VALUES) + offset,
    skipped + from,
    skipped + to,
    queries,
    states,
    1,
    group,
    position + 1,
  );
  let total = states;
  if (!whole) {
    const parts = lastPart + 1 - firstPart;
    if (!isLast(word(shape, SH_COUNTERS) + (<usize>head << 2), parts)) return;
    total = partStates(pc, 0, head, heads, group, rowState);
    for (let p = 1; p < parts; p++) {
      const other = partStates(pc, p, head, heads, group, rowState);
      for (let h = 0; h < group; h++) fold(total + <usize>h * rowState, other + <usize>h * rowState, padded);
    }
  }
  const y = word(pc, W_DST) + ((<usize>(head * group) * headDim) << 2);
  for (let h = 0; h < group; h++) {
    finishRow(total + <usize>h * rowState, y + ((<usize>h * headDim) << 2), headDim);
  }
}

/** States of the rows of a head, of its part number `index`. */
function partStates(pc: usize, index: i32, head: i32, heads: i32, group: i32, rowState: usize): usize {
  return word(pc, A_PARTS) + <usize>(index * heads + head * group) * rowState;
}

/** Counts a part as done; true for the last of `parts`, with the counter back at zero. */
function isLast(counter: usize, parts: i32): bool {
  if (ASC_FEATURE_THREADS) {
    if (atomic.add<i32>(counter, 1) != parts - 1) return false;
    atomic.store<i32>(counter, 0);
    return true;
  }
  const done = load<i32>(counter) + 1;
  store<i32>(counter, done == parts ? 0 : done);
  return done == parts;
}
