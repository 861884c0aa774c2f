/**
 * Half precision: IEEE binary16 and bfloat16 to and from f32, exact in both directions (encoding rounds to the
 * nearest, ties to even, as torch and numpy do). Decoding reads a table of all 65,536 values; encoding works on the bits.
 */

/** Values of all binary16 patterns; made at the first use (256 KiB). */
let f16Table: Float32Array | undefined;

/** The value of one binary16 bit pattern, by its definition; the slow twin of the table. */
export function f16BitsToF32(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 0x1f) return mantissa === 0 ? sign * Infinity : NaN;
  return sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

function tableOfF16(): Float32Array {
  if (f16Table === undefined) {
    f16Table = new Float32Array(0x10000);
    const bits = new Uint32Array(f16Table.buffer);
    for (let i = 0; i < 0x10000; i++) {
      f16Table[i] = f16BitsToF32(i);
      // A NaN keeps its sign and payload, so that decoding and encoding give the same bits back.
      if ((i & 0x7c00) === 0x7c00 && (i & 0x3ff) !== 0) {
        bits[i] = (((i & 0x8000) << 16) | 0x7f800000 | ((i & 0x3ff) << 13)) >>> 0;
      }
    }
  }
  return f16Table;
}

/**
 * binary16 bit patterns to f32, exact.
 *
 * @param out where to write; at least as long as `values` @default a new array
 */
export function f16ToF32(values: Uint16Array, out = new Float32Array(values.length)): Float32Array {
  const table = tableOfF16();
  // Copying bits (not values) keeps signalling NaNs as they are.
  const from = new Uint32Array(table.buffer);
  const to = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < values.length; i++) to[i] = from[values[i]]!;
  return out;
}

/** f32 bits to binary16 bits, round to nearest even. */
function encodeF16(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x38800000) {
    // 2^16 and above: infinity; NaN keeps the top of its payload and turns quiet only if that would empty it.
    if (magnitude >= 0x47800000) {
      if (magnitude <= 0x7f800000) return sign | 0x7c00;
      const payload = (magnitude >>> 13) & 0x3ff;
      return sign | 0x7c00 | (payload === 0 ? 0x200 : payload);
    }
    // Normal: adding half a unit (less one for even results) carries into the exponent by itself, up to infinity.
    return sign | ((magnitude + 0xfff + ((magnitude >>> 13) & 1) - 0x38000000) >>> 13);
  }
  const exponent = magnitude >>> 23;
  if (exponent < 102) return sign; // below half the smallest subnormal
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - exponent;
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0));
}

/** f32 to binary16 bit patterns, round to nearest even; beyond 65519.99 becomes infinity. */
export function f32ToF16(values: Float32Array, out = new Uint16Array(values.length)): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) out[i] = encodeF16(bits[i]);
  return out;
}

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** One f32 to its binary16 bit pattern. */
export function f32ToF16Bits(value: number): number {
  scratch[0] = value;
  return encodeF16(scratchBits[0]);
}

/** The value of one bfloat16 bit pattern. */
export function bf16BitsToF32(bits: number): number {
  scratchBits[0] = (bits << 16) >>> 0;
  return scratch[0];
}

/** bfloat16 bit patterns to f32, exact. */
export function bf16ToF32(values: Uint16Array, out = new Float32Array(values.length)): Float32Array {
  const to = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < values.length; i++) to[i] = values[i] << 16;
  return out;
}

function encodeBf16(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return ((bits >>> 16) & 0xffff) | 0x40; // NaN stays NaN
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** f32 to bfloat16 bit patterns, round to nearest even. */
export function f32ToBf16(values: Float32Array, out = new Uint16Array(values.length)): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) out[i] = encodeBf16(bits[i]);
  return out;
}

/** One f32 to its bfloat16 bit pattern. */
export function f32ToBf16Bits(value: number): number {
  scratch[0] = value;
  return encodeBf16(scratchBits[0]);
}
