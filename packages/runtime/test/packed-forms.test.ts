/**
 * Every member of the format on random shapes, placed and lowered as a model's linears are: near core's slow forward, the same
 * bits as the twins in both programs. `SUBBIT_SLOW_TESTS=1` for ten times as many.
 */
import { type FactoredLinear, type Linear, type OneBitLinear, type Table, tableRows } from "@subbit/core";
import { beforeAll, describe, expect, it } from "vitest";
import { CTRL_HEAD_FIRST, CTRL_THREADS, CTRL_TOKENS, CTRL_TOKEN_IDS, ROW_PAD } from "../src/abi.js";
import { allocateScratch } from "../src/program/allocate.js";
import { setControl, writeProgram } from "../src/program/build.js";
import { dealShares } from "../src/program/deal.js";
import { strideOf, type Value } from "../src/program/draft.js";
import { Emitter, type ProgramMode } from "../src/program/emitter.js";
import { fuse } from "../src/program/fuse.js";
import { emitHead } from "../src/program/lowering/head.js";
import type { PlacedModel } from "../src/program/placed-model.js";
import { ProgramOps } from "../src/program/program-ops.js";
import { schedule } from "../src/program/schedule.js";
import { runTwins } from "../src/twins/interpreter.js";
import { viewMemory } from "../src/twins/memory.js";
import { compileKernels, instantiateKernels, type KernelExports } from "../src/wasm/compile.js";
import { probeWasm } from "../src/wasm/probes.js";
import { Arena } from "../src/weights/arena.js";
import { placeEmbedding, placeHead, placeLinear } from "../src/weights/place.js";
import { gaussian, generator, pad } from "./kernel-harness.js";
import { randomFactored, randomOneBit } from "./random-linears.js";
import { exactFactored, exactOneBit, type Exact } from "./exact-linears.js";

const CASES = process.env.SUBBIT_SLOW_TESTS === "1" ? 3000 : 300;
const SEED = Date.now() & 0xffff;
/** What the runtime promises of products by 12-bit sums, of the size that products of random signs have. */
const SIGN_ERROR = 1e-3;
/** Few outputs scatter around the mean error. */
const scatter = (outputs: number): number => 1 + 3 / Math.sqrt(outputs);
const MOST_TOKENS = 20;

/** One memory for all cases, which a case takes from its beginning: two builds of the kernels, two twins. */
class Board {
  readonly #builds: readonly { name: string; fused: boolean; kernels: KernelExports }[];
  readonly arena: Arena;

  private constructor(arena: Arena, builds: Board["#builds"]) {
    this.arena = arena;
    this.#builds = builds;
  }

  static async open(): Promise<Board> {
    await probeWasm();
    const arena = new Arena(true, 1 << 28);
    const builds = [];
    for (const simd of ["baseline", "relaxed"] as const) {
      const kernels = instantiateKernels(await compileKernels(simd, true), arena.memory);
      builds.push({ name: simd, fused: simd === "relaxed", kernels });
    }
    return new Board(arena, builds);
  }

  /** Rows of what `emit` computes for `tokens` rows of x, by every build; expects each to equal its twin. */
  run(
    mode: ProgramMode,
    model: PlacedModel,
    x: Float32Array,
    cols: number,
    emit: (ops: ProgramOps, x: Value, emitter: Emitter) => Value,
    first = 0,
  ): Float32Array {
    const { arena } = this;
    const tokens = x.length / cols;
    const emitter = new Emitter(mode);
    const stride = pad(cols, ROW_PAD);
    const input = { ...emitter.rows(cols), address: arena.allocate(tokens * stride * 4) };
    emitter.renamed(emitter.rows(cols), input);
    for (let t = 0; t < tokens; t++) {
      arena.floats(input.address + t * stride * 4, cols).set(x.subarray(t * cols, (t + 1) * cols));
    }
    const output = emit(new ProgramOps(model, emitter), input, emitter);
    const features = emitter.features(output);
    const { drafts, kept } = fuse(emitter.take(), output);
    const levels = schedule(drafts);
    levels.forEach(dealShares);
    const plan = allocateScratch([levels], [[kept]], tokens);
    const base = arena.allocate(plan.bytes);
    const [{ start, end }] = writeProgram(
      arena,
      [{ levels, output: kept }],
      (value) => value.address ?? base + (plan.offsets.get(value) ?? 0),
    );
    setControl(arena, [{ levels, output: kept }], 1);
    const words = new Uint32Array(arena.memory.buffer);
    words[CTRL_TOKENS >> 2] = tokens;
    words[CTRL_THREADS >> 2] = 1;
    words[CTRL_HEAD_FIRST >> 2] = first;
    const at = base + (plan.offsets.get(kept) ?? 0);
    const rowsOf = (run: () => void): Float32Array => {
      new Float32Array(arena.memory.buffer, base, plan.bytes / 4).fill(123.5);
      run();
      return arena.floats(at, tokens * strideOf(kept)).slice(first * strideOf(kept));
    };
    let rows = new Float32Array();
    for (const { name, fused, kernels } of this.#builds) {
      const twin = rowsOf(() => runTwins(viewMemory(arena.memory.buffer, fused), start, end));
      rows = rowsOf(() => kernels.dispatch(start, end));
      expect(rows, `${name}, ${mode}`).toEqual(twin);
    }
    return unpadded(rows, strideOf(kept), features);
  }
}

function unpadded(rows: Float32Array, stride: number, features: number): Float32Array {
  const count = rows.length / stride;
  const values = new Float32Array(count * features);
  for (let t = 0; t < count; t++) {
    values.set(rows.subarray(t * stride, t * stride + features), t * features);
    const padding = rows.subarray(t * stride + features, (t + 1) * stride);
    expect(padding.every((value) => value === 0)).toBe(true);
  }
  return values;
}

/** A placed model of one linear. */
function modelOf(arena: Arena, linear?: Linear): PlacedModel {
  const placed = linear && placeLinear(arena, linear);
  return {
    linear: () => placed!,
    norm: unused,
    attention: unused,
    angles: unused,
    positions: unused,
    projection: unused,
  };
}

function unused(): never {
  throw new Error("a linear has no norm of the model's, no attention and no ends");
}

function errorOf(got: Float32Array, { y, size }: Exact): number {
  let error = 0;
  let total = 0;
  for (let i = 0; i < y.length; i++) {
    error += (got[i] - y[i]) ** 2;
    total += size[i] ** 2;
  }
  return total === 0 ? Math.sqrt(error) : Math.sqrt(error / total);
}

let board: Board;
beforeAll(async () => {
  board = await Board.open();
});

interface Sizes {
  readonly next: () => number;
  readonly rows: number;
  readonly cols: number;
  readonly below: (n: number) => number;
}

function sizesOf(seed: number): Sizes {
  const next = generator(seed);
  const below = (n: number): number => Math.floor(next() * n);
  const size = (): number => [1, 1 + below(40), 1 + below(150)][below(3)];
  return { next, below, rows: size(), cols: size() };
}

/** y = residual + linear(x) in both programs. */
function check(linear: FactoredLinear | OneBitLinear, seed: number, exact: (x: Float32Array) => Exact): void {
  const { rows, cols } = linear;
  const { below } = sizesOf(seed + 1);
  const model = modelOf(board.arena, linear);
  for (const mode of ["token", "tile"] as const) {
    const tokens = mode === "token" ? 1 : 1 + below(MOST_TOKENS);
    const x = gaussian(tokens * cols, seed + 2);
    const residual = gaussian(tokens * rows, seed + 3);
    const stride = pad(rows, ROW_PAD);
    const at = board.arena.allocate(tokens * stride * 4);
    for (let t = 0; t < tokens; t++) {
      board.arena.floats(at + t * stride * 4, rows).set(residual.subarray(t * rows, (t + 1) * rows));
    }
    const got = board.run(mode, model, x, cols, (ops, input, emitter) => {
      const before = emitter.renamed(emitter.rows(rows), { ...emitter.rows(rows), address: at });
      return ops.add(before, ops.linear(input, { layer: 0, role: "q" }));
    });
    const want = Array.from({ length: tokens }, (_, t) => exact(x.subarray(t * cols, (t + 1) * cols)));
    const all: Exact = {
      y: want.flatMap(({ y }) => y).map((value, i) => value + residual[i]),
      size: want.flatMap(({ size }) => size),
    };
    // Two products one after the other err, and a residual is rounded once.
    const limit = 2 * SIGN_ERROR * scatter(tokens * rows);
    expect(errorOf(got, all), `${mode} ${linear.kind} ${rows} x ${cols}`).toBeLessThan(limit);
  }
}

describe(`packed forms, ${CASES} random shapes, seed ${SEED}`, () => {
  it("OneBit: the norm comes after the product and before bias and residual", () => {
    for (let i = 0; i < CASES / 3; i++) {
      const seed = SEED * 1000 + i * 10;
      const { next, rows, cols } = sizesOf(seed);
      const options = { bias: next() < 0.5, scaleBits: next() < 0.5 ? 8 : 16 } as const;
      const linear = randomOneBit(rows, cols, seed, options);
      check(linear, seed, (x) => exactOneBit(linear, x));
    }
  });

  it("paths of different rank, envelopes from 1 to 16, with and without middle scales, scales of 16 and 8 bits", () => {
    for (let i = 0; i < CASES / 2; i++) {
      const seed = SEED * 1000 + i * 10 + 5;
      const { next, below, rows, cols } = sizesOf(seed);
      const linear = randomFactored(rows, cols, seed, {
        ranks: Array.from({ length: 1 + below(3) }, () => 1 + below(60)),
        envelope: next() < 0.4 ? 1 : 1 + below(16),
        mid: next() < 0.7,
        bias: next() < 0.5,
        scaleBits: next() < 0.5 ? 8 : 16,
      });
      check(linear, seed, (x) => exactFactored(linear, x));
    }
  });

  it("factored tables: a lookup gives the table's rows, the head its products with the tokens asked for", () => {
    for (let i = 0; i < CASES / 6; i++) {
      const seed = SEED * 1000 + i * 10 + 7;
      const { next, below, rows: vocab, cols: hidden } = sizesOf(seed);
      const table: Table = randomFactored(vocab, hidden, seed, {
        ranks: Array.from({ length: 1 + below(3) }, () => 1 + below(60)),
        envelope: next() < 0.6 ? 1 : 1 + below(4),
        mid: next() < 0.7,
        bias: false,
        scaleBits: next() < 0.5 ? 8 : 16,
      });
      for (const mode of ["token", "tile"] as const) {
        const tokens = mode === "token" ? 1 : 1 + below(MOST_TOKENS);
        const ids = Array.from({ length: tokens }, () => below(vocab));
        new Uint32Array(board.arena.memory.buffer).set(ids, CTRL_TOKEN_IDS >> 2);
        const embedding = placeEmbedding(board.arena, table);
        const x = gaussian(tokens * hidden, seed + 1);
        const got = board.run(mode, modelOf(board.arena), x, hidden, (ops) => ops.embed(embedding));
        const y = [...tableRows(table, ids)];
        expect(errorOf(got, { y, size: lookupSizes(table, ids) }), `lookup ${mode}`).toBeLessThan(
          SIGN_ERROR * scatter(y.length),
        );

        const head = placeHead(board.arena, table);
        const first = below(tokens);
        const logits = board.run(
          mode,
          modelOf(board.arena),
          x,
          hidden,
          (_, input, emitter) => emitHead(emitter, input, head),
          mode === "tile" ? first : 0,
        );
        const from = mode === "tile" ? first : 0;
        const want = Array.from({ length: tokens - from }, (_, t) =>
          exactFactored(table, x.subarray((from + t) * hidden, (from + t + 1) * hidden)),
        );
        const all = { y: want.flatMap((row) => row.y), size: want.flatMap((row) => row.size) };
        expect(errorOf(logits, all), `head ${mode}`).toBeLessThan(2 * SIGN_ERROR * scatter(all.y.length));
      }
    }
  });
});

/** What rows of a factored table would measure if their terms were random: sizes that errors are relative to. */
function lookupSizes(table: FactoredLinear, ids: readonly number[]): number[] {
  return ids.flatMap((id) => {
    const size = new Float64Array(table.cols);
    for (const { rank, envelope, outScales, midOut, midIn, inScales } of table.paths) {
      for (let j = 0; j < envelope; j++) {
        let power = 0;
        for (let k = 0; k < rank; k++) {
          let u = 0;
          for (let i = 0; i < envelope; i++) {
            u += outScales[i * table.rows + id] * (midOut?.[i * rank + k] ?? 1);
          }
          power += ((midIn?.[j * rank + k] ?? 1) * u) ** 2;
        }
        for (let c = 0; c < table.cols; c++) size[c] += power * inScales[j * table.cols + c] ** 2;
      }
    }
    return Array.from(size, Math.sqrt);
  });
}
