/**
 * Places for vectors of a checkpoint, which become f32 as they are read: floats are widened; 8-bit scales are looked up among
 * the levels of their code, and multiplied by the base of their vector once everything is read, wherever the file has it.
 */
import {
  SubbitError,
  scaleBaseName,
  scaleLevels,
  type Checkpoint,
  type ScaleBits,
  type TensorInfo,
} from "@subbit/core";
import { DTYPE_BF16, DTYPE_F16, DTYPE_F32, OP_LEVELS, OP_TIMES_BASE, OP_WIDEN, ROW_PAD } from "../abi.js";
import type { Arena } from "./arena.js";
import type { Filler } from "./filler.js";
import { pad } from "./place.js";

/** A tensor [vectors, length] of scales; more than one vector: they have signs. */
export interface ScaleShape {
  readonly vectors: number;
  readonly length: number;
  readonly scaleBits: ScaleBits;
}

export class StoredVectors {
  readonly #arena: Arena;
  readonly #filler: Filler;
  readonly #checkpoint: Checkpoint;
  /** Addresses of the levels of codes with and without a sign. */
  readonly #levels = new Map<boolean, number>();

  constructor(arena: Arena, filler: Filler, checkpoint: Checkpoint) {
    this.#arena = arena;
    this.#filler = filler;
    this.#checkpoint = checkpoint;
  }

  /** Address of a vector as f32, with zeros up to a multiple of `multiple`. */
  floats(tensor: string, length: number, multiple: number): number {
    return this.#widen(this.#info(tensor), { vectors: 1, length, padded: pad(length, multiple) }, false);
  }

  /** The same for what must be finite. */
  finite(tensor: string, length: number, multiple: number): number {
    return this.#widen(this.#info(tensor), { vectors: 1, length, padded: pad(length, multiple) }, true);
  }

  /** Address of scales as f32 [vectors, length padded to ROW_PAD]. */
  scales(tensor: string, { vectors, length, scaleBits }: ScaleShape): number {
    const info = this.#info(tensor);
    const padded = pad(length, ROW_PAD);
    if (scaleBits !== 8) return this.#widen(info, { vectors, length, padded }, true);
    const bases = this.#widen(
      this.#info(scaleBaseName(tensor)),
      { vectors: 1, length: vectors, padded: vectors },
      true,
    );
    const levels = this.#levelsOf(vectors > 1);
    const at = this.#arena.allocate(vectors * padded * 4);
    for (let v = 0; v < vectors; v++) {
      const vector = at + v * padded * 4;
      this.#filler.stage({
        file: info.file,
        offset: info.offset + v * length,
        units: length,
        unitBytes: 1,
        granule: 1,
        instruction: (src, first, count) => [OP_LEVELS, src, 0, vector + first * 4, 0, count, levels],
        damage: "",
      });
      this.#filler.afterwards([OP_TIMES_BASE, bases + v * 4, 0, vector, 0, length]);
    }
    return at;
  }

  #widen(
    info: TensorInfo,
    { vectors, length, padded }: { vectors: number; length: number; padded: number },
    finite: boolean,
  ): number {
    const at = this.#arena.allocate(vectors * padded * 4);
    const bytes = info.dtype === "F32" ? 4 : 2;
    const dtype = info.dtype === "F32" ? DTYPE_F32 : info.dtype === "F16" ? DTYPE_F16 : DTYPE_BF16;
    for (let v = 0; v < vectors; v++) {
      const vector = at + v * padded * 4;
      this.#filler.stage({
        file: info.file,
        offset: info.offset + v * length * bytes,
        units: length,
        unitBytes: bytes,
        granule: 1,
        instruction: (src, first, count) => [
          OP_WIDEN,
          src,
          0,
          vector + first * 4,
          0,
          count,
          dtype,
          finite ? 1 : 0,
        ],
        damage: `Tensor ${info.name} of ${this.#checkpoint.name} holds a scale that is not finite; the file is damaged.`,
      });
    }
    return at;
  }

  #levelsOf(signed: boolean): number {
    let at = this.#levels.get(signed);
    if (at === undefined) {
      const levels = scaleLevels(signed);
      at = this.#arena.putFloats(levels, levels.length);
      this.#levels.set(signed, at);
    }
    return at;
  }

  #info(tensor: string): TensorInfo {
    const info = this.#checkpoint.tensors.get(tensor);
    if (info === undefined) {
      throw new SubbitError("internal", `The tensor ${tensor} was not checked before it was placed.`);
    }
    return info;
  }
}
