// Where the blocks of a token's heads are cut into parts (abi.ts says why): blocks of all kv heads in a row, equal shares.
import { ATTENTION_LONG, ATTENTION_PARTS, ATTENTION_PARTS_LONG } from "../src/abi";

/** Parts of `items` blocks; none is empty. */
// @ts-ignore: decorator
@inline
export function partCount(items: i32): i32 {
  return min(items, items >= ATTENTION_LONG ? ATTENTION_PARTS_LONG : ATTENTION_PARTS);
}

/** First item of a part. */
// @ts-ignore: decorator
@inline
export function partStart(items: i32, part: i32): i32 {
  return (items * part) / partCount(items);
}

/** The part that holds the item. */
// @ts-ignore: decorator
@inline
export function partOf(items: i32, item: i32): i32 {
  return ((item + 1) * partCount(items) - 1) / items;
}

/** One past the last block of the part that holds block `block` of head `head`, of `blocks` a head. */
export function partEnd(head: i32, block: i32, blocks: i32, heads: i32): i32 {
  const items = heads * blocks,
    item = head * blocks;
  return min(blocks, partStart(items, partOf(items, item + block) + 1) - item);
}
