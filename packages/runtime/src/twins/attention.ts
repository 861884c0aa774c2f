/** Twins of causal attention over the KV cache, of a tile and of a token. */
import {
  ATTENTION_LONG,
  ATTENTION_PARTS,
  ATTENTION_PARTS_LONG,
  CTRL_POSITION,
  CTRL_TOKENS,
  KEY_BLOCK,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../abi.js";
import { attendBlock, fold, newState, prepareQuery, type Query, type State } from "./attend.js";
import { readBlock, shapeOf, storeKv, type Block, type Shape } from "./kv-cache.js";
import { control, floats, word, type MemoryViews } from "./memory.js";
import { rotate } from "./rotary.js";

const f = Math.fround;

/** Keys and values of the tile are in the cache. */
export function attention(m: MemoryViews, pc: number): void {
  const shape = shapeOf(m, pc);
  const { heads, headDim } = shape;
  const stride = word(m, pc, W_DST_STRIDE);
  const blockOf = blockReader(m, pc, shape);
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    const position = control(m, CTRL_POSITION) + token;
    const x = floats(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE);
    const y = floats(m, pc, W_DST) + token * stride;
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor((head * shape.kvHeads) / heads);
      const rotated = rotate(m.f32, x + head * headDim, headDim, { ...shape, position }, shape.scale);
      const { total, mixed } = attendRow(
        m.fused,
        shape,
        prepareQuery(shape, rotated),
        position,
        kvHead,
        blockOf,
      );
      const inverse = f(1 / total);
      for (let i = 0; i < headDim; i++) m.f32[y + head * headDim + i] = mixed[i] * inverse;
    }
    m.f32.fill(0, y + heads * headDim, y + stride);
  }
}

/** Stores the token's key and value first. */
export function attendToken(m: MemoryViews, pc: number): void {
  storeKv(m, pc);
  attention(m, pc);
}

type BlockReader = (kvHead: number, block: number) => { keys: Block; values: Block };

/** Reads every block once. */
function blockReader(m: MemoryViews, pc: number, shape: Shape): BlockReader {
  const read = new Map<string, { keys: Block; values: Block }>();
  return (kvHead, block) => {
    const name = `${kvHead} ${block}`;
    let found = read.get(name);
    if (found === undefined) {
      const [keys, values] = (["key", "value"] as const).map((kind) =>
        readBlock(m, pc, kind, shape, kvHead, block),
      );
      found = { keys, values };
      read.set(name, found);
    }
    return found;
  };
}

/** The blocks of a token's kv heads, in a row, are cut into parts; those of this head are computed apart and added up. */
function attendRow(
  fused: boolean,
  shape: Shape,
  query: Query,
  position: number,
  kvHead: number,
  blockOf: BlockReader,
): State {
  const skipped = firstBlock(shape, position);
  const blocks = Math.floor(position / KEY_BLOCK) + 1 - skipped;
  const items = shape.kvHeads * blocks;
  const parts = Math.min(items, items >= ATTENTION_LONG ? ATTENTION_PARTS_LONG : ATTENTION_PARTS);
  const cuts = Array.from(
    { length: parts },
    (_, part) => Math.floor((items * part) / parts) - kvHead * blocks,
  );
  let whole: State | undefined;
  let state = newState(shape);
  for (let block = 0; block < blocks; block++) {
    if (block > 0 && cuts.includes(block)) {
      whole = joined(fused, whole, state);
      state = newState(shape);
    }
    const { keys, values } = blockOf(kvHead, skipped + block);
    const valid = position + 1 - (skipped + block) * KEY_BLOCK;
    const first = shape.window === 0 ? 0 : valid - shape.window;
    attendBlock(fused, shape, query, keys, values, state, first, valid);
  }
  return joined(fused, whole, state);
}

/** The first block that a query sees, the same for all positions of its block. */
function firstBlock({ window }: Shape, position: number): number {
  if (window === 0) return 0;
  const start = position - (position % KEY_BLOCK);
  return Math.floor(Math.max(0, start + 1 - window) / KEY_BLOCK);
}

function joined(fused: boolean, whole: State | undefined, part: State): State {
  if (whole === undefined) return part;
  fold(fused, whole, part);
  return whole;
}
