/**
 * Moments of an optimizer, as f32 or in 8 bits.
 *
 * Eight bits: blocks of 256 values, each with its largest magnitude as f32, and of every value a code of what it is
 * relative to that. A code is the top of the f32 itself, exponent and leading bits of the mantissa, so that small values
 * keep their relative precision: what a division by the root of a second moment needs, and what 8 equal steps of the
 * largest would lose. First moments have a sign and 3 bits of mantissa; of second moments the root is kept, without a
 * sign and with 4 bits. Values are rounded to either neighbour with chances that leave the mean as it was: a moment moves
 * by a few percent of itself a step or less, and rounding to the nearest would freeze it.
 * Source: blockwise codes of Dettmers et al., 2022 (8-bit optimizers via block-wise quantization), with codes of our own.
 */

/** Values that share a largest magnitude. */
const BLOCK = 256;
/** Bits of an f32's mantissa. */
const MANTISSA = 23;
/** An f32's bits of 1. */
const ONE_BITS = 0x3f800000;

export interface Moment {
  /** The values. A coded moment decodes them into an array that it shares with others of its slot: close it first. */
  open(): Float32Array;
  /** Keeps what the opened array holds now; `step` seeds the rounding. */
  close(step: number): void;
  /** What a snapshot needs, by suffix; shares memory. */
  readonly arrays: readonly (readonly [suffix: string, array: Float32Array | Uint8Array])[];
}

export class PlainMoment implements Moment {
  readonly arrays: readonly (readonly [string, Float32Array])[];
  readonly #values: Float32Array;

  constructor(length: number) {
    this.#values = new Float32Array(length);
    this.arrays = [["", this.#values]];
  }

  open(): Float32Array {
    return this.#values;
  }

  close(): void {
    // The values are the moment itself.
  }
}

/** Arrays that coded moments are decoded into, one a slot, as long as the longest asked for. */
export class Scratch {
  readonly #slots: Float32Array[] = [];

  get(slot: number, length: number): Float32Array {
    const known = this.#slots[slot];
    if (known !== undefined && known.length >= length) return known.subarray(0, length);
    return (this.#slots[slot] = new Float32Array(length));
  }
}

export interface CodedOptions {
  /** Whether values have signs; otherwise they are squares, whose roots are kept. */
  readonly signed: boolean;
  readonly scratch: Scratch;
  /** Of the scratch: moments that are open at the same time need different ones. */
  readonly slot: number;
  /** Tells the chances of this moment from those of others. */
  readonly salt: number;
}

export class CodedMoment implements Moment {
  readonly arrays: readonly (readonly [string, Float32Array | Uint8Array])[];
  readonly #codes: Uint8Array;
  readonly #largest: Float32Array;
  readonly #options: CodedOptions;

  constructor(length: number, options: CodedOptions) {
    this.#codes = new Uint8Array(length);
    this.#largest = new Float32Array(Math.ceil(length / BLOCK));
    this.#options = options;
    this.arrays = [
      ["", this.#codes],
      [".largest", this.#largest],
    ];
  }

  open(): Float32Array {
    const { signed, scratch, slot } = this.#options;
    const values = scratch.get(slot, this.#codes.length);
    decodeMoment(this.#codes, this.#largest, signed, values);
    return values;
  }

  close(step: number): void {
    const { signed, scratch, slot, salt } = this.#options;
    const values = scratch.get(slot, this.#codes.length);
    encodeMoment(values, signed, mix(step, salt), this.#codes, this.#largest);
  }
}

/** How the magnitudes of a kind of code lie in 0 .. `top`. */
function layout(signed: boolean): { shift: number; top: number } {
  return signed ? { shift: MANTISSA - 3, top: 127 } : { shift: MANTISSA - 4, top: 255 };
}

const TABLES = { signed: magnitudes(true), unsigned: magnitudes(false) };

/** What each code stands for, as a share of its block's largest. */
function magnitudes(signed: boolean): Float32Array {
  const { shift, top } = layout(signed);
  const bits = Uint32Array.from({ length: top + 1 }, (_, code) =>
    code === 0 ? 0 : ((ONE_BITS >>> shift) - top + code) << shift,
  );
  const values = new Float32Array(bits.buffer);
  if (!signed) return values;
  const both = new Float32Array(2 * values.length);
  both.set(values);
  both.set(
    values.map((value) => -value),
    values.length,
  );
  return both;
}

/** Values of codes: of signed ones as they are, else squared. */
export function decodeMoment(
  codes: Uint8Array,
  largest: Float32Array,
  signed: boolean,
  values: Float32Array,
): void {
  const table = signed ? TABLES.signed : TABLES.unsigned;
  for (let block = 0; block < largest.length; block++) {
    const scale = largest[block];
    const end = Math.min(codes.length, (block + 1) * BLOCK);
    for (let i = block * BLOCK; i < end; i++) {
      const value = table[codes[i]] * scale;
      values[i] = signed ? value : value * value;
    }
  }
}

/** The inverse, up to one step of the codes; chances are seeded. */
export function encodeMoment(
  values: Float32Array,
  signed: boolean,
  seed: number,
  codes: Uint8Array,
  largest: Float32Array,
): void {
  const { shift, top } = layout(signed);
  const base = (ONE_BITS >>> shift) - top;
  const smallest = (signed ? TABLES.signed : TABLES.unsigned)[1];
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  let state = seed >>> 0;
  for (let block = 0; block < largest.length; block++) {
    const [begin, end] = [block * BLOCK, Math.min(codes.length, (block + 1) * BLOCK)];
    let most = 0;
    for (let i = begin; i < end; i++) most = Math.max(most, Math.abs(values[i]));
    const scale = Math.fround(signed ? most : Math.sqrt(most));
    largest[block] = scale;
    for (let i = begin; i < end; i++) {
      // A linear congruential generator, of which the upper bits are used.
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const value = values[i];
      const magnitude = scale > 0 ? Math.min(1, (signed ? Math.abs(value) : Math.sqrt(value)) / scale) : 0;
      let code: number;
      if (magnitude < smallest) code = state < (magnitude / smallest) * 2 ** 32 ? 1 : 0;
      else {
        float[0] = magnitude;
        code = Math.min(top, ((bits[0] + (state >>> (32 - shift))) >>> shift) - base);
      }
      codes[i] = signed && value < 0 ? code + top + 1 : code;
    }
  }
}

/** One 32-bit number from two, in which every bit of both counts (the finaliser of MurmurHash3). */
export function mix(a: number, b: number): number {
  let h = (Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca77)) >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
