/** One growing WebAssembly memory and a bump allocator over it: everything a model needs lives here. */
import { SubbitError } from "@subbit/core";
import { CTRL_END, ROW_PAD } from "../abi.js";

const PAGE_BYTES = 65536;
/** What 32-bit addresses reach. */
const MAX_PAGES = 65536;
/** Grown by this much at least, so that a model of many small tensors does not grow at each. */
const GROWTH_PAGES = 256;
/** Cache lines, so that threads that write neighbours do not share one. */
const ALIGNMENT = 64;
/** Largest use that is attempted: what browsers and V8 grant reliably below the 4 GiB that addresses reach. */
export const MAX_MODEL_BYTES = 3.5 * 2 ** 30;

export class Arena {
  readonly memory: WebAssembly.Memory;
  #used = CTRL_END;
  /** Addresses of vectors of ones, by their number and length. */
  readonly #ones = new Map<string, number>();

  /**
   * @param shared whether threads will share it
   * @param expectedBytes what will be allocated, as far as it is known
   */
  constructor(shared: boolean, expectedBytes = 0) {
    this.memory = createMemory(shared, expectedBytes);
  }

  get usedBytes(): number {
    return this.#used;
  }

  /** Byte address of `bytes` of zeroed memory, aligned to 64. */
  allocate(bytes: number): number {
    const at = this.#used;
    this.#used = Math.ceil((at + bytes) / ALIGNMENT) * ALIGNMENT;
    if (this.#used > MAX_MODEL_BYTES) throw tooLarge(this.#used);
    const have = this.memory.buffer.byteLength / PAGE_BYTES;
    const need = Math.ceil(this.#used / PAGE_BYTES) - have;
    if (need > 0) this.#grow(Math.min(Math.max(need, GROWTH_PAGES), MAX_PAGES - have), need);
    return at;
  }

  #grow(wanted: number, needed: number): void {
    for (const pages of [wanted, needed]) {
      try {
        this.memory.grow(pages);
        return;
      } catch {
        // Tried again with the least that will do.
      }
    }
    throw new SubbitError(
      "resources",
      `The model needs ${this.#used} bytes of memory, but the engine refused to grow past ${this.memory.buffer.byteLength}; close other programs or take a smaller model or context.`,
    );
  }

  /** Bytes [at, at + length); valid until the next `allocate`. */
  bytes(at: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, at, length);
  }

  floats(at: number, length: number): Float32Array {
    return new Float32Array(this.memory.buffer, at, length);
  }

  /** Address of a copy of `values`, padded with zeros to `length` floats. */
  putFloats(values: Float32Array, length: number): number {
    const at = this.allocate(length * 4);
    this.floats(at, values.length).set(values);
    return at;
  }

  /** Address of `vectors` vectors of `length` ones, each padded with zeros to ROW_PAD; the same for the same shape. */
  ones(length: number, vectors = 1): number {
    const key = `${vectors} ${length}`;
    let at = this.#ones.get(key);
    if (at === undefined) {
      const padded = Math.ceil(length / ROW_PAD) * ROW_PAD;
      at = this.allocate(vectors * padded * 4);
      for (let v = 0; v < vectors; v++) this.floats(at + v * padded * 4, length).fill(1);
      this.#ones.set(key, at);
    }
    return at;
  }
}

/** Reserves the whole address space, or what is expected and a quarter more where the engine is short of it. */
function createMemory(shared: boolean, expectedBytes: number): WebAssembly.Memory {
  const expectedPages = Math.ceil((expectedBytes * 1.25) / PAGE_BYTES) + GROWTH_PAGES;
  for (const maximum of [MAX_PAGES, Math.min(expectedPages, MAX_PAGES)]) {
    try {
      return new WebAssembly.Memory({ initial: GROWTH_PAGES, maximum, shared });
    } catch {
      // Tried again with less.
    }
  }
  throw new SubbitError(
    "resources",
    `The model needs about ${Math.ceil(expectedBytes)} bytes of memory, but the engine refused to reserve them; close other programs or tabs, or take a smaller model or context.`,
  );
}

export function tooLarge(bytes: number): SubbitError {
  return new SubbitError(
    "resources",
    `The model needs ${Math.ceil(bytes)} bytes of memory with its context, but one WebAssembly memory holds at most ${MAX_MODEL_BYTES}; compress it further or ask for a shorter context.`,
  );
}
