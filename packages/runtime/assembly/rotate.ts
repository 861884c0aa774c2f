// A seeded rotation of a vector in place: signs are flipped, then a fast Hadamard transform mixes, twice over. Where the length
// is no power of two a transform of the largest one below takes the front, and another one the back.
// After it no vector that was chosen without knowing the signs lies along an axis, which is what error bounds rest on.

/** Rounds of flips and transforms: sparse rows need the second one. */
const ROUNDS = 2;

/** @param turns f32 [rounds, one or two, cols]: +-1, times 1 / sqrt(length) where the transform takes the value */
export function rotate(x: usize, turns: usize, cols: i32): void {
  const length = 1 << (31 - clz(cols)), bytes = <usize>cols << 2;
  for (let round = 0; round < ROUNDS; round++) {
    flip(x, turns, bytes);
    turns += bytes;
    hadamard(x, length);
    if (length < cols) {
      flip(x, turns, bytes);
      turns += bytes;
      hadamard(x + (<usize>(cols - length) << 2), length);
    }
  }
}

// @ts-ignore: decorator
@inline
function flip(x: usize, turns: usize, bytes: usize): void {
  for (const end = x + bytes; x < end; x += 16) {
    v128.store(x, f32x4.mul(v128.load(x), v128.load(turns)));
    turns += 16;
  }
}

/** Sums and differences of values 1, 2, 4 .. length / 2 apart; length a power of two, 16 at least. */
function hadamard(x: usize, length: i32): void {
  const end = x + (<usize>length << 2);
  const odd = f32x4(1, -1, 1, -1), upper = f32x4(1, 1, -1, -1);
  for (let at = x; at < end; at += 16) {
    let v = v128.load(at);
    v = f32x4.add(v128.shuffle<i32>(v, v, 1, 0, 3, 2), f32x4.mul(v, odd));
    v = f32x4.add(v128.shuffle<i32>(v, v, 2, 3, 0, 1), f32x4.mul(v, upper));
    v128.store(at, v);
  }
  // Two distances at a time: a load and a store do for both.
  let h: usize = 16;
  const bytes = <usize>length << 2;
  for (; h * 2 < bytes; h *= 4) {
    for (let block = x; block < end; block += h * 4) {
      for (let a = block, last = block + h; a < last; a += 16) {
        const b = a + h, c = b + h, d = c + h;
        const v = v128.load(a), w = v128.load(b), y = v128.load(c), z = v128.load(d);
        const p = f32x4.add(v, w), q = f32x4.sub(v, w), r = f32x4.add(y, z), s = f32x4.sub(y, z);
        v128.store(a, f32x4.add(p, r));
        v128.store(b, f32x4.add(q, s));
        v128.store(c, f32x4.sub(p, r));
        v128.store(d, f32x4.sub(q, s));
      }
    }
  }
  if (h < bytes) {
    for (let a = x, last = x + h; a < last; a += 16) {
      const v = v128.load(a), w = v128.load(a + h);
      v128.store(a, f32x4.add(v, w));
      v128.store(a + h, f32x4.sub(v, w));
    }
  }
}
