// What a block of inputs goes through before tables are made of it: a norm or an activation that would else be an instruction
// of its own with a barrier behind it, and the scale of the factored linear.
import { I_ACTIVATION, I_EPS, I_FEATURES, I_FUNCTION, I_KIND, I_OTHER, I_RMS } from "../src/abi";
import { activateRow } from "./elementwise";
import { inverseDeviation } from "./norm";
import { number, real, word } from "./words";

/** Factor of the whole row that is left to the step of the tables: an RMS norm's; `x` is the row. */
export function rowFactor(pc: usize, x: usize): f32 {
  if (number(pc, I_KIND) != I_RMS) return 1;
  return inverseDeviation(x, number(pc, I_FEATURES), 0, real(pc, I_EPS));
}

/**
 * Where the prepared inputs of a block lie: `room` (bytes of a block), or x itself where nothing is to be done.
 * @param at bytes from the begin of the row to the block
 * @param scale f32 of the row, or 0
 * @param other byte address of the row's I_OTHER
 */
export function prepareInputs(pc: usize, x: usize, at: usize, bytes: usize, scale: usize, other: usize, room: usize): usize {
  const kind = number(pc, I_KIND);
  const source = x + at;
  if (kind == I_ACTIVATION) {
    activateRow(number(pc, I_FUNCTION), source, other == 0 ? 0 : other + at, bytes, room);
    if (scale != 0) scaled(room, scale + at, bytes, room);
    return room;
  }
  if (kind == I_RMS) {
    if (scale == 0) scaled(source, other + at, bytes, room);
    else scaledTwice(source, other + at, scale + at, bytes, room);
    return room;
  }
  if (scale == 0) return source;
  scaled(source, scale + at, bytes, room);
  return room;
}

function scaled(x: usize, scale: usize, bytes: usize, out: usize): void {
  for (let i: usize = 0; i < bytes; i += 16) v128.store(out + i, f32x4.mul(v128.load(x + i), v128.load(scale + i)));
}

function scaledTwice(x: usize, first: usize, second: usize, bytes: usize, out: usize): void {
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(out + i, f32x4.mul(f32x4.mul(v128.load(x + i), v128.load(first + i)), v128.load(second + i)));
  }
}
