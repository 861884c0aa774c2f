/** Gives the tensors of a checkpoint their places in memory and says how they get there; nothing is read yet. */
import {
  SubbitError,
  endTensors,
  normHasBias,
  normSize,
  oneBitNames,
  pathNames,
  ranksOf,
  rowScalesName,
  tableName,
  type FactoredEntry,
  type LinearSite,
  type Model,
  type NormSite,
  type OneBitEntry,
  type Projection,
  type TableEntry,
  type TensorInfo,
} from "@subbit/core";
import {
  DENSE_COL_PAD,
  DENSE_ROW_TILE,
  OP_COPY_ROWS,
  OP_PACK_SIGNS,
  OP_SHIFT,
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
  type PlacedEmbedding,
  type PlacedFactored,
  type PlacedLinear,
  type PlacedNorm,
  type PlacedOneBit,
  type PlacedPath,
  type PlacedSigns,
  type PlacedTable,
} from "./place.js";
import { StoredVectors } from "./stored-vectors.js";

const STORAGE_OF = { F32: "f32", F16: "f16", BF16: "bf16", I8: "i8", U8: "i4" } as const;

/** Bytes of one 4-bit code 8, which stands for zero, and of two. */
const ZERO_CODE = 0x80;
const ZERO_CODES = 0x88;

/** The word of an instruction that holds a float. */
function realWord(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0];
}

export class StoredPlacer {
  readonly #arena: Arena;
  readonly #filler: Filler;
  readonly #model: Model;
  readonly #vectors: StoredVectors;

  constructor(arena: Arena, filler: Filler, model: Model) {
    this.#arena = arena;
    this.#filler = filler;
    this.#model = model;
    this.#vectors = new StoredVectors(arena, filler, model.checkpoint);
  }

  linear(site: LinearSite): PlacedLinear {
    const { spec, manifest } = this.#model;
    const name = spec.names.linear(site);
    const entry = manifest?.linears[name];
    if (entry?.kind === "factored") return this.#factored(name, entry);
    if (entry?.kind === "onebit") return this.#oneBit(name, entry);
    // A manifest that disagrees with the spec was refused before.
    const { rows, cols, bias } = spec.linearShapes[site.role];
    const weight = `${name}.weight`;
    return this.#dense(weight, { rows, cols, bits: entry?.bits }, bias ? `${name}.bias` : undefined);
  }

  /** May serve as the head as well. */
  embedding(): PlacedEmbedding {
    const { spec, manifest } = this.#model;
    const weight = spec.names.embedding;
    const entry = manifest?.embedding;
    if (entry?.kind !== "factored") return this.#table(weight, entry);
    const name = tableName(weight);
    const placed = this.#factored(name, entry);
    const paths = placed.paths.map((path, p) => ({
      ...path,
      inSignsTransposed: this.#signs(pathNames(name, p).inSigns, path.rank, entry.cols, true),
    }));
    return { ...placed, paths };
  }

  head(): PlacedTable {
    const { spec, manifest } = this.#model;
    const weight = spec.names.head;
    const entry = manifest?.head;
    return entry?.kind === "factored" ? this.#factored(tableName(weight), entry) : this.#table(weight, entry);
  }

  norm(site: NormSite): PlacedNorm {
    const { spec } = this.#model;
    const name = spec.names.norm(site);
    const size = normSize(spec, site.role);
    const vector = (tensor: string): number => this.#vectors.floats(tensor, size, ROW_PAD);
    const weight = vector(`${name}.weight`);
    const { weightOffset } = spec.norm;
    if (weightOffset !== 0)
      this.#filler.afterwards([OP_SHIFT, 0, 0, weight, 0, size, realWord(weightOffset)]);
    return { weight, bias: normHasBias(spec) ? vector(`${name}.bias`) : 0 };
  }

  /** Learned positions and the matrices between embedding and hidden size, where the model has them. */
  ends(): Map<"positions" | Projection, PlacedDense> {
    const placed = new Map<"positions" | Projection, PlacedDense>();
    for (const { end, name, shape } of endTensors(this.#model.spec)) {
      const [rows, cols] = shape;
      placed.set(end, this.#dense(name, { rows, cols, bits: undefined }, undefined));
    }
    return placed;
  }

  #table(weight: string, entry: Extract<TableEntry, { kind: "dense" }> | undefined): PlacedDense {
    const { vocabSize: rows } = this.#model.spec;
    const { embeddingSize: cols } = this.#model.spec.ends;
    return this.#dense(weight, { rows, cols, bits: entry?.bits }, undefined);
  }

  /**
   * Rows keep their stored form; they are padded to 16 columns where they do not end there already.
   *
   * @param shape `bits` where a manifest says them: codes of 4 and of 2 bits are both stored as bytes
   */
  #dense(
    weight: string,
    shape: { rows: number; cols: number; bits: number | undefined },
    bias: string | undefined,
  ): PlacedDense {
    const { rows, cols } = shape;
    const info = this.#info(weight);
    const storage = shape.bits === 2 ? "i2" : STORAGE_OF[info.dtype as keyof typeof STORAGE_OF];
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
    return {
      kind: "dense",
      rows,
      cols,
      dtype: DTYPE_CODES[storage],
      weights,
      rowBytes,
      rowScales: bits <= 8 ? this.#vectors.finite(rowScalesName(weight), rows, DENSE_ROW_TILE) : 0,
      bias: bias === undefined ? 0 : this.#vectors.floats(bias, rows, DENSE_ROW_TILE),
    };
  }

  #factored(name: string, entry: FactoredEntry): PlacedFactored {
    const { rows, cols } = entry;
    return {
      kind: "factored",
      rows,
      cols,
      paths: ranksOf(entry).map((rank, p) => this.#path(name, p, rank, entry)),
      bias: this.#bias(name, entry),
    };
  }

  #path(name: string, p: number, rank: number, entry: FactoredEntry): PlacedPath {
    const { rows, cols, envelope, midScale, scaleBits } = entry;
    const names = pathNames(name, p);
    const scales = (tensor: string, length: number): number =>
      this.#vectors.scales(tensor, { vectors: envelope, length, scaleBits });
    return {
      rank,
      envelope,
      inSigns: this.#signs(names.inSigns, rank, cols, false),
      outSigns: this.#signs(names.outSigns, rank, rows, true),
      inScales: scales(names.inScales, cols),
      // The sign kernel always scales its output: that is what makes padded rows zero.
      midIn: midScale ? scales(names.midIn, rank) : this.#arena.ones(rank, envelope),
      midOut: midScale && envelope > 1 ? scales(names.midOut, rank) : 0,
      outScales: scales(names.outScales, rows),
    };
  }

  #oneBit(name: string, entry: OneBitEntry): PlacedOneBit {
    const { rows, cols, scaleBits } = entry;
    const names = oneBitNames(name);
    return {
      kind: "onebit",
      rows,
      cols,
      signs: this.#signs(names.signs, rows, cols, false),
      outScales: this.#vectors.scales(names.outScales, { vectors: 1, length: rows, scaleBits }),
      inScales: this.#vectors.scales(names.inScales, { vectors: 1, length: cols, scaleBits }),
      ones: this.#arena.ones(rows),
      bias: this.#bias(name, entry),
    };
  }

  #bias(name: string, { biasBits, rows }: FactoredEntry | OneBitEntry): number {
    return biasBits === 0 ? 0 : this.#vectors.floats(`${name}.bias`, rows, ROW_PAD);
  }

  /** Signs stored as [count, length]; transposed, they are the matrix [length, count]. */
  #signs(tensor: string, count: number, length: number, transposed: boolean): PlacedSigns {
    const info = this.#info(tensor);
    const [rows, cols] = transposed ? [length, count] : [count, length];
    const weights = this.#arena.allocate(packedSignBytes(rows, cols));
    const tileBytes = Math.ceil(cols / SIGN_CHUNK) * 64;
    this.#filler.stage({
      file: info.file,
      offset: info.offset,
      units: count,
      unitBytes: Math.ceil(length / 32) * 4,
      // Whole tiles of the matrix, or whole chunks of the transposed one.
      granule: SIGN_CHUNK,
      instruction: (src, first, units) => {
        const to = weights + (transposed ? (first / SIGN_CHUNK) * 64 : (first / SIGN_ROW_TILE) * tileBytes);
        return [OP_PACK_SIGNS, src, 0, to, 0, units, length, transposed ? 1 : 0, tileBytes];
      },
      damage: `Tensor ${tensor} of ${this.#model.checkpoint.name} has set bits in its padding; the file is damaged.`,
    });
    return { weights, rows, cols };
  }

  #info(tensor: string): TensorInfo {
    const info = this.#model.checkpoint.tensors.get(tensor);
    if (info === undefined) {
      throw new SubbitError("internal", `The tensor ${tensor} was not checked before it was placed.`);
    }
    return info;
  }
}
