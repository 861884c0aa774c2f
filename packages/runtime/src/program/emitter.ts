/** Collects the drafts of a program in the making and knows how many features its values have. */
import { SubbitError } from "@subbit/core";
import { ROW_PAD } from "../abi.js";
import { pad } from "../weights/place.js";
import type { Draft, Operand, Value } from "./draft.js";

/**
 * What a program is made for: `token` runs one token at a time and is judged by its latency, `tile` runs many and is judged by
 * its throughput. Both compute the same model; kernels differ where that pays.
 */
export type ProgramMode = "token" | "tile";

/** Bits that group sums of sign products are rounded to. */
export type SignBits = 8 | 12 | 16;

export class Emitter {
  readonly mode: ProgramMode;
  readonly signBits: SignBits;
  readonly #drafts: Draft[] = [];
  readonly #featuresOf = new Map<Value, number>();
  #nextId = 0;
  #rotation = 0;

  constructor(mode: ProgramMode, signBits: SignBits = 12) {
    this.mode = mode;
    this.signBits = signBits;
  }

  /** The drafts emitted since the last call. */
  take(): Draft[] {
    return this.#drafts.splice(0);
  }

  emit(
    op: number,
    reads: Value[],
    writes: Value[],
    operands: Record<number, Operand>,
    chained = false,
    scratchBytes = 0,
  ): void {
    this.#drafts.push({ op, reads, writes, operands, chained, scratchBytes });
  }

  /** Takes back a draft that was emitted since the last `take`. */
  withdraw(draft: Draft): void {
    this.#drafts.splice(this.#drafts.indexOf(draft), 1);
  }

  /** f32 rows of `features`, padded. */
  rows(features: number): Value {
    const value = this.value(pad(features, ROW_PAD) * 4);
    this.#featuresOf.set(value, features);
    return value;
  }

  /** Rows like those of `x`. */
  like(x: Value): Value {
    return this.rows(this.features(x));
  }

  /** Rows of anything. */
  value(rowBytes: number): Value {
    return { id: this.#nextId++, rowBytes };
  }

  /** A value that has its own place. */
  fixed(address: number): Value {
    return { id: this.#nextId++, rowBytes: 0, address };
  }

  features(x: Value): number {
    const features = this.#featuresOf.get(x);
    if (features === undefined) throw new SubbitError("internal", "A value without features was read.");
    return features;
  }

  /** Fusion left the value `before` under another name; it has the same features. */
  renamed(before: Value, after: Value): Value {
    this.#featuresOf.set(after, this.features(before));
    return after;
  }

  /** The draft that writes `x`, where it was emitted since the last `take`. */
  producerOf(x: Value): Draft | undefined {
    return this.#drafts.find((draft) => draft.writes.includes(x));
  }

  isRead(x: Value): boolean {
    return this.#drafts.some((draft) => draft.reads.includes(x));
  }

  /** Numbers drafts, so that neighbours do not all load thread 0. */
  nextRotation(): number {
    return this.#rotation++;
  }
}
