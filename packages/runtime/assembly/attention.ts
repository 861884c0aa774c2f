// Causal attention of a tile of tokens over the KV cache. A unit is some tokens with all query heads of one kv head: keys and
// values are read (and widened) once for all of them.
import {
  ATTENTION_ROWS,
  A_KEYS,
  A_SHAPE,
  A_VALUES,
  CTRL_POSITION,
  KEY_BLOCK,
  SH_HEADS,
  SH_HEAD_DIM,
  SH_KV_BITS,
  SH_KV_HEADS,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../src/abi";
import { attend, attendEnd, clearState, finishRow, firstBlock, fold, prepareQuery, stateBytes } from "./attend";
import { partEnd } from "./attention-parts";
import { headBytes, paddedHead } from "./kv-cache";
import { number, scratch, tokens, word } from "./words";

/** Tokens of a unit, a power of two, so that no unit crosses into another block; at least two units a thread where there are. */
function unitTokens(group: i32, heads: i32, count: i32, threads: i32): i32 {
  let size = 16;
  while (size > 1 && size * group > ATTENTION_ROWS) size >>= 1;
  while (threads > 1 && size > 1 && heads * (count / size) < 2 * threads) size >>= 1;
  return size;
}

export function attention(pc: usize, thread: i32, threads: i32): void {
  const shape = word(pc, A_SHAPE),
    heads = number(shape, SH_HEADS),
    kvHeads = number(shape, SH_KV_HEADS),
    position = load<i32>(CTRL_POSITION),
    count = tokens();
  const size = unitTokens(heads / kvHeads, kvHeads, count, threads);
  const first = position / size,
    last = (position + count - 1) / size;
  // The latest tokens see the most keys: they come first, what is left over is small.
  for (let unit = thread; unit < (last + 1 - first) * kvHeads; unit += threads) {
    const start = (last - unit / kvHeads) * size,
      from = max(start, position),
      to = min(start + size, position + count);
    attendTokens(pc, unit % kvHeads, from - position, to - from, thread);
  }
  if (thread == threads - 1) padRows(pc, heads, count);
}

function padRows(pc: usize, heads: i32, count: i32): void {
  const stride = word(pc, W_DST_STRIDE),
    used = <usize>heads * word(word(pc, A_SHAPE), SH_HEAD_DIM);
  if (stride == used) return;
  for (let t = 0; t < count; t++) {
    memory.fill(word(pc, W_DST) + ((<usize>t * stride + used) << 2), 0, (stride - used) << 2);
  }
}

/** `count` tokens of the tile from `first` on, all in one block, with the query heads of one kv head. */
function attendTokens(pc: usize, head: i32, first: i32, count: i32, thread: i32): void {
  const shape = word(pc, A_SHAPE),
    headDim = word(shape, SH_HEAD_DIM),
    padded = paddedHead(headDim),
    kvHeads = number(shape, SH_KV_HEADS),
    group = number(shape, SH_HEADS) / kvHeads,
    position = load<i32>(CTRL_POSITION) + first,
    rows = count * group,
    rowState = stateBytes(padded),
    skipped = firstBlock(shape, position),
    blocks = position / KEY_BLOCK + 1 - skipped;
  const queries = scratch(thread),
    states = attendEnd(queries, rows, padded, number(shape, SH_KV_BITS)),
    parts = states + <usize>rows * rowState;
  const keys = word(pc, A_KEYS) + <usize>head * headBytes(shape),
    values = word(pc, A_VALUES) + <usize>head * headBytes(shape);
  let query = queries;
  for (let t = 0; t < count; t++) {
    const x = word(pc, W_SRC) + ((<usize>(first + t) * word(pc, W_SRC_STRIDE) + <usize>(head * group) * headDim) << 2);
    for (let h = 0; h < group; h++) {
      const state = states + ((query - queries) / (padded << 2)) * rowState;
      prepareQuery(shape, x + ((<usize>h * headDim) << 2), position + t, query, state);
      query += padded << 2;
    }
  }
  let from = 0;
  let current = states;
  while (from < blocks) {
    const to = partEnd(head, from, blocks, kvHeads);
    if (current != states) memory.copy(current, states, <usize>rows * rowState);
    for (let r = 0; r < rows; r++) clearState(current + <usize>r * rowState, padded);
    attend(shape, keys, values, skipped + from, skipped + to, queries, current, count, group, position + 1);
    if (current != states) {
      for (let r = 0; r < rows; r++) fold(states + <usize>r * rowState, current + <usize>r * rowState, padded);
    }
    current = parts;
    from = to;
  }
  let state = states;
  for (let t = 0; t < count; t++) {
    const y = word(pc, W_DST) + ((<usize>(first + t) * word(pc, W_DST_STRIDE) + <usize>(head * group) * headDim) << 2);
    for (let h = 0; h < group; h++) {
      finishRow(state, y + ((<usize>h * headDim) << 2), headDim);
      state += rowState;
    }
  }
}
