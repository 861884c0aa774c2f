/** Twin of the seeded rotation: flips of signs and Hadamard transforms, see assembly/rotate.ts. */

const ROUNDS = 2;

/** @param turns [rounds, one or two, cols], see `turnsOf` of weights/place-sketch.ts */
export function rotate(x: Float32Array, turns: Float32Array): void {
  const cols = x.length;
  const length = 2 ** Math.floor(Math.log2(cols));
  let at = 0;
  for (let round = 0; round < ROUNDS; round++) {
    for (const first of length < cols ? [0, cols - length] : [0]) {
      for (let i = 0; i < cols; i++) x[i] *= turns[at++];
      hadamard(x.subarray(first, first + length));
    }
  }
}

function hadamard(x: Float32Array): void {
  for (let h = 1; h < x.length; h *= 2) {
    for (let i = 0; i < x.length; i++) {
      if ((i & h) !== 0) continue;
      const [a, b] = [x[i], x[i + h]];
      x[i] = a + b;
      x[i + h] = a - b;
    }
  }
}
