/** Gives the tensors of a checkpoint their places in memory and says how they get there; nothing is read yet. */
import {
  SubbitError,
  pathNames,
  rowScalesName,
  type FactoredEntry,
  type LinearSite,
  type Model,
  type NormSite,
  type TensorInfo,
} from "@subbit/core";
import {
  DENSE_COL_PAD,
  DENSE_ROW_TILE,
  DTYPE_BF16,
  DTYPE_F16,
  DTYPE_F32,
  OP_COPY_ROWS,
  OP_PACK_SIGNS,
  OP_WIDEN,
  ROW_PAD,
  SIGN_CHUNK,
  SIGN_ROW_TILE,
} from "../abi.js";
import type { Arena } from "./arena.js";
import type { Filler } from "./filler.js";
import { packedSignBytes } from "./pack-signs.js";
import {
  BITS_OF_DTYPE,
  DTYPE_CODES,
  pad,
  type PlacedDense,
  type PlacedFactored,
  type PlacedLinear,
  type PlacedNorm,
  type PlacedPath,
  type PlacedSigns,
} from "./place.js";

const STORAGE_OF = { F32: "f32", F16: "f16", BF16: "bf16", I8: "i8", U8: "i4" } as const;

/** Bytes of one 4-bit code 8, which stands for zero, and of two. */
const ZERO_CODE = 0x80;
const ZERO_CODES = 0x88;

export class StoredPlacer {
  readonly #arena: Arena;
  readonly #filler: Filler;
  readonly #model: Model;

  constructor(arena: Arena, filler: Filler, model: Model) {
    this.#arena = arena;
    this.#filler = filler;
    this.#model = model;
  }

  linear(site: LinearSite): PlacedLinear {
    const { spec, manifest } = this.#model;
    const name = spec.names.linear(site);
    const entry = manifest?.linears[name];
    if (entry?.kind === "factored") return this.#factored(name, entry);
    // A manifest that disagrees with the spec was refused before.
    const { rows, cols, bias } = spec.linearShapes[site.role];
    return this.#dense(`${name}.weight`, rows, cols, bias ? `${name}.bias` : undefined);
  }

  embedding(): PlacedDense {
    return this.#table(this.#model.spec.names.embedding);
  }

  head(): PlacedDense {
    return this.#table(this.#model.spec.names.head);
  }

  norm(site: NormSite): PlacedNorm {
    const { spec } = this.#model;
    const name = spec.names.norm(site);
    const vector = (tensor: string): number =>
      this.#values(this.#info(tensor), 0, spec.hiddenSize, pad(spec.hiddenSize, ROW_PAD), false);
    return {
      weight: vector(`${name}.weight`),
      bias: spec.norm.kind === "layer" ? vector(`${name}.bias`) : 0,
    };
  }

  #table(weight: string): PlacedDense {
    const { vocabSize, hiddenSize } = this.#model.spec;
    return this.#dense(weight, vocabSize, hiddenSize, undefined);
  }

  /** Rows keep their stored form; they are padded to 16 columns where they do not end there already. */
  #dense(weight: string, rows: number, cols: number, bias: string | undefined): PlacedDense {
    const info = this.#info(weight);
    const storage = STORAGE_OF[info.dtype as keyof typeof STORAGE_OF];
    const bits = BITS_OF_DTYPE[storage];
    const rowBytes = (pad(cols, DENSE_COL_PAD) * bits) / 8;
    const storedBytes = Math.ceil((cols * bits) / 8);
    const rowsPadded = pad(rows, DENSE_ROW_TILE);
    const weights = this.#arena.allocate(rowsPadded * rowBytes);
    const oddCodes = storage === "i4" && cols % 2 === 1;
    if (storedBytes === rowBytes && !oddCodes) {
      this.#filler.direct({ file: info.file, offset: info.offset, bytes: info.bytes, at: weights });
    } else {
      this.#filler.stage({
        file: info.file,
        offset: info.offset,
        units: rows,
        unitBytes: storedBytes,
        granule: 1,
        instruction: (src, first, count) => {
          const fill = storage === "i4" ? ZERO_CODES : 0;
          const to = weights + first * rowBytes;
          return [OP_COPY_ROWS, src, 0, to, 0, count, storedBytes, rowBytes, fill, oddCodes ? ZERO_CODE : 0];
        },
        damage: "",
      });
    }
    const quantised = storage === "i8" || storage === "i4";
    const rowScales = quantised
      ? this.#values(this.#info(rowScalesName(weight)), 0, rows, rowsPadded, true)
      : 0;
    const biasAt = bias === undefined ? 0 : this.#values(this.#info(bias), 0, rows, rowsPadded, false);
    return {
      kind: "dense",
      rows,
      cols,
      dtype: DTYPE_CODES[storage],
      weights,
      rowBytes,
      rowScales,
      bias: biasAt,
    };
  }

  #factored(name: string, entry: FactoredEntry): PlacedFactored {
    const { rows, cols, biasBits } = entry;
    return {
      kind: "factored",
      rows,
      cols,
      paths: Array.from({ length: entry.paths }, (_, p) => this.#path(name, p, entry)),
      bias:
        biasBits === 0
          ? 0
          : this.#values(this.#info(`${name}.bias`), 0, rows, pad(rows, SIGN_ROW_TILE), false),
    };
  }

  #path(name: string, p: number, { rows, cols, rank, envelope, midScale }: FactoredEntry): PlacedPath {
    const names = pathNames(name, p);
    /** One padded vector for each rank-1 term of the tensor [envelope, length]. */
    const terms = (tensor: string, length: number, multiple: number): number[] =>
      Array.from({ length: envelope }, (_, j) =>
        this.#values(this.#info(tensor), j * length, length, pad(length, multiple), true),
      );
    // The sign kernel always scales its output: that is what makes padded rows zero.
    const ones = (): number[] =>
      Array.from({ length: envelope }, () =>
        this.#arena.putFloats(new Float32Array(rank).fill(1), pad(rank, SIGN_ROW_TILE)),
      );
    return {
      rank,
      inSigns: this.#signs(names.inSigns, rank, cols, false),
      outSigns: this.#signs(names.outSigns, rank, rows, true),
      inScales: terms(names.inScales, cols, ROW_PAD),
      midIn: midScale ? terms(names.midIn, rank, SIGN_ROW_TILE) : ones(),
      midOut:
        midScale && envelope > 1 ? terms(names.midOut, rank, ROW_PAD) : new Array<number>(envelope).fill(0),
      outScales: terms(names.outScales, rows, SIGN_ROW_TILE),
    };
  }

  /** Signs stored as [rank, length]; transposed, they are the matrix [length, rank]. */
  #signs(tensor: string, rank: number, length: number, transposed: boolean): PlacedSigns {
    const info = this.#info(tensor);
    const [rows, cols] = transposed ? [length, rank] : [rank, length];
    const weights = this.#arena.allocate(packedSignBytes(rows, cols));
    const tileBytes = Math.ceil(cols / SIGN_CHUNK) * 64;
    this.#filler.stage({
      file: info.file,
      offset: info.offset,
      units: rank,
      unitBytes: Math.ceil(length / 32) * 4,
      // Whole tiles of the matrix, or whole chunks of the transposed one.
      granule: SIGN_CHUNK,
      instruction: (src, first, count) => {
        const to = weights + (transposed ? (first / SIGN_CHUNK) * 64 : (first / SIGN_ROW_TILE) * tileBytes);
        return [OP_PACK_SIGNS, src, 0, to, 0, count, length, transposed ? 1 : 0, tileBytes];
      },
      damage: `Tensor ${tensor} of ${this.#model.checkpoint.name} has set bits in its padding; the file is damaged.`,
    });
    return { weights, rows, cols };
  }

  /** Address of elements [begin, begin + count) as f32, with zeros up to `padded`. */
  #values(info: TensorInfo, begin: number, count: number, padded: number, finite: boolean): number {
    const at = this.#arena.allocate(padded * 4);
    const bytes = info.dtype === "F32" ? 4 : 2;
    const dtype = info.dtype === "F32" ? DTYPE_F32 : info.dtype === "F16" ? DTYPE_F16 : DTYPE_BF16;
    this.#filler.stage({
      file: info.file,
      offset: info.offset + begin * bytes,
      units: count,
      unitBytes: bytes,
      granule: 1,
      instruction: (src, first, length) => [
        OP_WIDEN,
        src,
        0,
        at + first * 4,
        0,
        length,
        dtype,
        finite ? 1 : 0,
      ],
      damage: `Tensor ${info.name} of ${this.#model.checkpoint.name} holds a scale that is not finite; the file is damaged.`,
    });
    return at;
  }

  #info(tensor: string): TensorInfo {
    const info = this.#model.checkpoint.tensors.get(tensor);
    if (info === undefined) {
      throw new SubbitError("internal", `The tensor ${tensor} was not checked before it was placed.`);
    }
    return info;
  }
}
