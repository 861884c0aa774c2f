/**
 * Fills memory from weight files: what lies on disk as it shall lie in memory is read to its place; everything else is read to
 * a small staging area, in the order of the files, and brought to its place by the loading kernels, on all threads, while the
 * next stretch is read. So no second copy of the weights is ever made.
 */
import { inputError, throwIfAborted, type Checkpoint, type OnProgress } from "@subbit/core";
import { INSTRUCTION_BYTES, INSTRUCTION_WORDS, L_DAMAGED } from "../abi.js";
import type { Executor } from "../executors/types.js";
import type { Arena } from "./arena.js";

/** Bytes that are read and converted at once: they stay in the cache in between, and reading more at once is no faster. */
const STRETCH_BYTES = 2 ** 20;
/** Bytes that are read to their place at once; an abort waits for no more than these. */
const DIRECT_BYTES = 8 * 2 ** 20;
/** Instructions for one stretch; small tensors are many. */
const MAX_PARTS = 512;
/** Bytes between two tensors that are read along rather than skipped. */
const MAX_GAP_BYTES = 65536;
/** One is read while the other is converted. */
const SLOTS = 2;

/** Part of a file that a kernel brings to its place. */
export interface StagedPiece {
  readonly file: string;
  /** Of the first byte in the file. */
  readonly offset: number;
  readonly units: number;
  readonly unitBytes: number;
  /** A piece is cut at multiples of this many units only. */
  readonly granule: number;
  /** Words of the instruction for units [first, first + count), whose bytes lie at `src`. */
  instruction(src: number, first: number, count: number): number[];
  /** What to say when the kernel finds the bytes damaged. */
  readonly damage: string;
}

/** Part of a file that is stored as it shall lie in memory. */
export interface DirectPiece {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
  /** Where it shall lie. */
  readonly at: number;
}

interface Part {
  readonly piece: StagedPiece;
  readonly first: number;
  readonly count: number;
  /** Of its first byte in the file. */
  readonly offset: number;
}

interface Stretch {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
  /** Empty: the bytes belong `at`. */
  readonly parts: readonly Part[];
  readonly at: number;
}

interface Slot {
  readonly staging: number;
  readonly program: number;
}

interface Reading {
  readonly slot: Slot;
  readonly arrived: Promise<void>;
}

export interface FillOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export class Filler {
  readonly #arena: Arena;
  readonly #staged: StagedPiece[] = [];
  readonly #direct: DirectPiece[] = [];
  readonly #last: number[][] = [];

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  stage(piece: StagedPiece): void {
    if (piece.units > 0) this.#staged.push(piece);
  }

  direct(piece: DirectPiece): void {
    if (piece.bytes > 0) this.#direct.push(piece);
  }

  /** Words of an instruction that runs once everything is read: on all of memory, in no order. */
  afterwards(instruction: number[]): void {
    this.#last.push(instruction);
  }

  /**
   * Allocates the staging area; nothing may be allocated between this and the end of the filling it returns.
   * That throws `input` for damaged bytes or a file that ends early, `interrupted` when the signal fires.
   */
  prepare(checkpoint: Checkpoint): (executor: Executor, options: FillOptions) => Promise<void> {
    const stretches = this.#stretches();
    const slotBytes = Math.max(0, ...stretches.map(({ parts, bytes }) => (parts.length === 0 ? 0 : bytes)));
    const slots: Slot[] = Array.from({ length: SLOTS }, () => ({
      staging: this.#arena.allocate(slotBytes),
      program: this.#arena.allocate(MAX_PARTS * INSTRUCTION_BYTES),
    }));
    const lastBytes = this.#last.length * INSTRUCTION_BYTES;
    const last = this.#arena.allocate(lastBytes);
    return async (executor, { signal, onProgress }) => {
      const total = stretches.reduce((sum, { bytes }) => sum + bytes, 0);
      let done = 0;
      const report = (bytes: number): void => {
        done += bytes;
        onProgress?.({ stage: "load", done, total, unit: "bytes" });
      };
      report(0);
      // Read ahead by one: while a stretch is converted, the next one is on its way into the other slot.
      let staged = 0;
      const begin = ({ file, offset, bytes, parts, at }: Stretch): Reading => {
        const slot = slots[staged % SLOTS];
        if (parts.length > 0) staged++;
        const to = this.#arena.bytes(parts.length === 0 ? at : slot.staging, bytes);
        const arrived = checkpoint.readFile!(file, offset, to);
        // Whoever fails while the one before is converted is heard when its turn comes.
        arrived.catch(() => undefined);
        return { slot, arrived };
      };
      let reading: Reading | undefined;
      try {
        for (const [i, stretch] of stretches.entries()) {
          throwIfAborted(signal);
          const { slot, arrived } = reading ?? begin(stretch);
          await arrived;
          reading = i + 1 < stretches.length ? begin(stretches[i + 1]) : undefined;
          if (stretch.parts.length > 0) await this.#convert(executor, stretch, slot);
          report(stretch.bytes);
        }
      } finally {
        // Nothing is written to a memory whose load was given up.
        await reading?.arrived.catch(() => undefined);
      }
      if (lastBytes > 0) {
        this.#write(last, this.#last);
        await executor.run(last, last + lastBytes, true);
      }
    };
  }

  async #convert(executor: Executor, { offset, parts }: Stretch, slot: Slot): Promise<void> {
    const words = this.#write(
      slot.program,
      parts.map((part) =>
        part.piece.instruction(slot.staging + part.offset - offset, part.first, part.count),
      ),
    );
    await executor.run(slot.program, slot.program + parts.length * INSTRUCTION_BYTES, true);
    const damaged = parts.find((_, i) => words[i * INSTRUCTION_WORDS + L_DAMAGED] !== 0);
    if (damaged !== undefined) throw inputError(damaged.piece.damage);
  }

  /** Instructions at `program`; their words. */
  #write(program: number, instructions: readonly (readonly number[])[]): Uint32Array {
    const words = new Uint32Array(
      this.#arena.memory.buffer,
      program,
      instructions.length * INSTRUCTION_WORDS,
    );
    words.fill(0);
    instructions.forEach((instruction, i) => words.set(instruction, i * INSTRUCTION_WORDS));
    return words;
  }

  /** In the order of the files. */
  #stretches(): Stretch[] {
    const stretches: Stretch[] = [];
    for (const { file, offset, bytes, at } of this.#direct) {
      for (let done = 0; done < bytes; done += DIRECT_BYTES) {
        const length = Math.min(DIRECT_BYTES, bytes - done);
        stretches.push({ file, offset: offset + done, bytes: length, parts: [], at: at + done });
      }
    }
    let open: Part[] = [];
    let [begin, end] = [0, 0];
    const close = (): void => {
      if (open.length === 0) return;
      stretches.push({ file: open[0].piece.file, offset: begin, bytes: end - begin, parts: open, at: 0 });
      open = [];
    };
    for (const piece of [...this.#staged].sort(inFileOrder)) {
      for (let first = 0; first < piece.units;) {
        const offset = piece.offset + first * piece.unitBytes;
        const follows =
          open.length > 0 &&
          open.length < MAX_PARTS &&
          open[0].piece.file === piece.file &&
          offset - end <= MAX_GAP_BYTES;
        const room = follows ? begin + STRETCH_BYTES - offset : STRETCH_BYTES;
        const count = unitsWithin(piece, piece.units - first, room);
        if (follows && count === 0) {
          close();
          continue;
        }
        if (!follows) {
          close();
          begin = offset;
        }
        // A granule larger than a stretch makes a stretch of its own.
        const taken = count > 0 ? count : Math.min(piece.granule, piece.units - first);
        open.push({ piece, first, count: taken, offset });
        first += taken;
        end = Math.max(open.length > 1 ? end : 0, piece.offset + first * piece.unitBytes);
      }
    }
    close();
    return stretches.sort(inFileOrder);
  }
}

/** Units that fit in `room` bytes: all that remain, or a multiple of the granule. */
function unitsWithin(piece: StagedPiece, remaining: number, room: number): number {
  const fit = Math.floor(room / piece.unitBytes);
  return fit >= remaining ? remaining : Math.max(0, Math.floor(fit / piece.granule) * piece.granule);
}

function inFileOrder(a: { file: string; offset: number }, b: { file: string; offset: number }): number {
  return a.file < b.file ? -1 : a.file > b.file ? 1 : a.offset - b.offset;
}
