/** Twin of the rotary embedding of one head, half-split layout. */
const f = Math.fround;

/** scale * the `headDim` numbers at `at`, the first `rotary` of them turned by the angles of a position. */
export function rotate(
  floats: Float32Array,
  at: number,
  headDim: number,
  angles: { rotary: number; cos: number; sin: number; position: number },
  scale: number,
): Float32Array {
  const half = angles.rotary / 2;
  const y = floats.slice(at, at + headDim);
  for (let i = 0; i < half; i++) {
    const [a, b] = [floats[at + i], floats[at + half + i]];
    const [c, s] = [angles.cos, angles.sin].map((table) => floats[table + angles.position * half + i]);
    y[i] = f(a * c) - f(b * s);
    y[half + i] = f(b * c) + f(a * s);
  }
  return y.map((value) => value * scale);
}
