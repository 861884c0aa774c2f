/**
 * Learns in which directions hidden states are large, from the first ones that come by, and reads the shortlists that the
 * kernels make once the sketch is filled. Speed depends on what was learned, answers never do.
 */
import { CTRL_SHORTLIST, CTRL_THREADS, LIST_HEAD_BYTES, Q_DAMAGED } from "../abi.js";
import type { Shortlisting } from "../program/build.js";
import { capped } from "../twins/elementwise.js";
import { readRow } from "../twins/dense.js";
import { viewMemory } from "../twins/memory.js";

/** The largest logits, best first; of equal ones the lowest id first. */
export interface Shortlist {
  readonly ids: Int32Array;
  readonly logits: Float32Array;
  /** Rows of the head that were computed in full. */
  readonly rescored: number;
}

/** Rows of the head that its mean is taken over. */
const SAMPLED_ROWS = 512;
/** Of a state's length: what is left of it by the directions known already must be more, or it adds nothing but rounding. */
const NEW_DIRECTION = 1e-3;

export class HeadSketch {
  readonly #parts: Shortlisting;
  /** Centre and directions, orthonormal. */
  readonly #basis: Float64Array[] = [];
  #filled = false;
  #useless = false;

  constructor(parts: Shortlisting) {
    this.#parts = parts;
  }

  get fill(): Shortlisting["fill"] {
    return this.#parts.fill;
  }

  /** Whether shortlists can be asked for. */
  get ready(): boolean {
    return this.#filled && !this.#useless;
  }

  /** Whether enough has been seen to fill the sketch; it is to be filled then, once. */
  get due(): boolean {
    return !this.#filled && this.#basis.length === this.#parts.sketch.directions + 1;
  }

  /** @param states [count, hiddenSize] */
  observe(buffer: ArrayBufferLike, states: Float32Array): void {
    const { head, directions } = this.#parts.sketch;
    if (this.#filled) return;
    if (this.#basis.length === 0) this.#basis.push(this.#centre(buffer));
    for (let at = 0; at < states.length && this.#basis.length <= directions; at += head.cols) {
      const direction = orthonormal(states.subarray(at, at + head.cols), this.#basis);
      if (direction !== undefined) this.#basis.push(direction);
    }
  }

  /** Writes what was learned to where the filling instruction reads it. */
  write(buffer: ArrayBufferLike): void {
    const { basis, cols } = this.#parts.sketch;
    this.#basis.forEach((direction, k) =>
      new Float32Array(buffer, basis + 4 * k * cols, cols).set(direction),
    );
  }

  /** After the filling instruction has run. */
  settle(buffer: ArrayBufferLike): void {
    this.#filled = true;
    this.#basis.length = 0;
    this.#useless = new Uint32Array(buffer, this.#parts.sketch.address)[Q_DAMAGED] !== 0;
  }

  /** The shortlist that was just made, or undefined where the logits are not all finite. */
  read(buffer: ArrayBufferLike, wanted: number): Shortlist | undefined {
    const { lists, listBytes, head } = this.#parts.sketch;
    const threads = new Uint32Array(buffer)[CTRL_THREADS >>> 2];
    const { softcap } = this.#parts;
    const cap = softcap === undefined ? undefined : Math.fround(softcap);
    const entries: { id: number; logit: number }[] = [];
    let rescored = 0;
    for (let thread = 0; thread < threads; thread++) {
      const at = lists + thread * listBytes;
      const [count, exact] = new Int32Array(buffer, at, 2);
      rescored += exact;
      const logits = new Float32Array(buffer, at + LIST_HEAD_BYTES, 2 * count);
      const ids = new Int32Array(buffer, at + LIST_HEAD_BYTES, 2 * count);
      for (let i = 0; i < count; i++) {
        const logit = logits[2 * i];
        entries.push({ id: ids[2 * i + 1], logit: cap === undefined ? logit : capped(logit, cap) });
      }
    }
    entries.sort((a, b) => b.logit - a.logit || a.id - b.id);
    entries.length = Math.min(entries.length, wanted);
    if (entries.length < Math.min(wanted, head.rows)) return undefined;
    if (!entries.every(({ logit }) => Number.isFinite(logit))) return undefined;
    return {
      ids: Int32Array.from(entries, ({ id }) => id),
      logits: Float32Array.from(entries, ({ logit }) => logit),
      rescored,
    };
  }

  /** Mean direction of the rows of the head; zeros where there is none. */
  #centre(buffer: ArrayBufferLike): Float64Array {
    const { head, cols } = this.#parts.sketch;
    const memory = viewMemory(buffer, false);
    const sum = new Float64Array(cols);
    const count = Math.min(SAMPLED_ROWS, head.rows);
    for (let i = 0; i < count; i++) {
      const index = Math.floor((i * head.rows) / count);
      const row = readRow(memory, head.dtype, head.weights + index * head.rowBytes, head.cols);
      const scale = head.rowScales ? memory.f32[(head.rowScales >>> 2) + index] : 1;
      for (let c = 0; c < head.cols; c++) sum[c] += scale * row[c];
    }
    return orthonormal(sum, []) ?? new Float64Array(cols);
  }
}

export function askForShortlist(buffer: ArrayBufferLike, wanted: number): void {
  new Uint32Array(buffer)[CTRL_SHORTLIST >>> 2] = wanted;
}

/** What is new in `vector`, of length 1; undefined where next to nothing is. Twice, because once leaves rounding behind. */
function orthonormal(vector: ArrayLike<number>, basis: readonly Float64Array[]): Float64Array | undefined {
  const rest = new Float64Array(basis[0]?.length ?? vector.length);
  rest.set(vector);
  const before = Math.hypot(...rest);
  for (let round = 0; round < 2; round++) {
    for (const u of basis) {
      let along = 0;
      for (let i = 0; i < u.length; i++) along += u[i] * rest[i];
      for (let i = 0; i < u.length; i++) rest[i] -= along * u[i];
    }
  }
  const size = Math.hypot(...rest);
  if (!(size > NEW_DIRECTION * before && size < Infinity)) return undefined;
  return rest.map((value) => value / size);
}
