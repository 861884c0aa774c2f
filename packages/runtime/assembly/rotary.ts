// Rotary embedding of one head, half-split layout: feature i turns with feature i + rotary / 2; the rest is copied.

/** y = scale * rotated x; rotary and headDim in floats, `cos` and `sin` of the token's position. */
export function rotate(
  x: usize,
  y: usize,
  cos: usize,
  sin: usize,
  rotary: usize,
  headDim: usize,
  scale: f32,
): void {
  const factor = f32x4.splat(scale);
  const middle = (rotary >> 1) << 2,
    end = headDim << 2;
  let i: usize = 0;
  for (; i + 16 <= middle; i += 16) {
    const a = v128.load(x + i),
      b = v128.load(x + middle + i),
      c = v128.load(cos + i),
      s = v128.load(sin + i);
    v128.store(y + i, f32x4.mul(f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)), factor));
    v128.store(y + middle + i, f32x4.mul(f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)), factor));
  }
  for (; i < middle; i += 4) {
    const a = load<f32>(x + i),
      b = load<f32>(x + middle + i),
      c = load<f32>(cos + i),
      s = load<f32>(sin + i);
    store<f32>(y + i, (a * c - b * s) * scale);
    store<f32>(y + middle + i, (b * c + a * s) * scale);
  }
  for (i = middle << 1; i < end; i += 4) store<f32>(y + i, load<f32>(x + i) * scale);
}
