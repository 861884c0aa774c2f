/** The largest logits by the sketch against the whole product: same rows, same bits, whatever the matrix and the input. */
import { denseFromF32, type DenseLinear } from "@subbit/core";
import { describe, expect, it } from "vitest";
import {
  CTRL_HEAD_FIRST,
  CTRL_NIBBLE_MASK,
  CTRL_SCRATCH,
  CTRL_SCRATCH_STRIDE,
  CTRL_THREADS,
  CTRL_TOKENS,
  DENSE_COL_PAD,
  INSTRUCTION_BYTES,
  INSTRUCTION_WORDS,
  M_BIAS,
  M_COLS,
  M_DTYPE,
  M_HEAD_ONLY,
  M_ROWS,
  M_ROW_BYTES,
  M_ROW_SCALES,
  M_SKETCH,
  M_WEIGHTS,
  M_WIDTH,
  OP_BARRIER,
  OP_DENSE,
  OP_SKETCH_ESTIMATE,
  OP_SKETCH_RESCORE,
  OP_SKETCH_ROWS,
  Q_COEFFICIENTS,
  Q_ESTIMATES,
  Q_PARAMETERS,
  Q_PLANE,
  Q_PLANES,
  Q_SECOND_PLANE,
  ROW_PAD,
  SKETCH_PARAMETERS,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../src/abi.js";
import { inlineExecutor, twinExecutor } from "../src/executors/inline.js";
import type { Executor } from "../src/executors/types.js";
import { workerExecutor } from "../src/executors/workers.js";
import { spawnNodeThread } from "../src/node/spawn-thread.js";
import { askForShortlist, HeadSketch } from "../src/session/head-sketch.js";
import { compileKernels } from "../src/wasm/compile.js";
import { probeWasm } from "../src/wasm/probes.js";
import { Arena } from "../src/weights/arena.js";
import { placeDense } from "../src/weights/place.js";
import { placeSketch } from "../src/weights/place-sketch.js";
import { gaussian, generator, pad } from "./kernel-harness.js";
import { store } from "./tiny-models.js";

const SEED = (Date.now() >> 3) & 0xffff;

type Dtype = DenseLinear["storage"]["dtype"];
const DTYPES: readonly Dtype[] = ["f32", "f16", "bf16", "i8", "i4", "i2"];

interface Runner {
  readonly name: string;
  readonly threads: number;
  open(memory: WebAssembly.Memory): Promise<Executor>;
}

function kernels(simd: "baseline" | "relaxed", threads: number): Runner {
  return {
    name: `${simd}, ${threads} threads`,
    threads,
    async open(memory) {
      await probeWasm();
      const module = await compileKernels(simd, true);
      return threads === 1
        ? inlineExecutor(module, memory)
        : workerExecutor(spawnNodeThread, module, memory, { threads, cpus: 2 });
    },
  };
}

const twin = (fused: boolean): Runner => ({
  name: fused ? "fused twin" : "twin",
  threads: 1,
  open: (memory) => Promise.resolve(twinExecutor(memory, fused)),
});

/** A head with its sketch in memory, and what runs on it. */
class Head {
  readonly #arena = new Arena(true);
  readonly #placed;
  readonly #cols: number;
  readonly #x: number;
  readonly #y: number;
  readonly #stride: number;
  readonly #program: number;
  readonly #sketch: HeadSketch;
  readonly #address: number;
  #executor!: Executor;

  private constructor(linear: DenseLinear, threads: number, planes: number) {
    const arena = this.#arena;
    this.#placed = placeDense(arena, linear);
    this.#cols = pad(linear.cols, DENSE_COL_PAD);
    this.#stride = pad(linear.rows, ROW_PAD);
    this.#x = arena.allocate(pad(linear.cols, ROW_PAD) * 4);
    this.#y = arena.allocate(this.#stride * 4);
    const placed = placeSketch(arena, this.#placed, threads, planes);
    this.#address = placed.address;
    const scratch = arena.allocate(threads * (1 << 17));
    this.#program = arena.allocate(8 * INSTRUCTION_BYTES);
    const fill = { start: this.#program, end: this.#program + INSTRUCTION_BYTES };
    this.#sketch = new HeadSketch({ sketch: placed, fill });
    const words = this.words;
    words[CTRL_THREADS >> 2] = threads;
    words[CTRL_TOKENS >> 2] = 1;
    words[CTRL_HEAD_FIRST >> 2] = 0;
    words[CTRL_SCRATCH >> 2] = scratch;
    words[CTRL_SCRATCH_STRIDE >> 2] = 1 << 17;
    arena.bytes(CTRL_NIBBLE_MASK, 16).fill(15);
    [OP_SKETCH_ROWS, OP_DENSE, OP_SKETCH_ESTIMATE, OP_BARRIER, OP_SKETCH_RESCORE].forEach((op, i) =>
      this.#emit(i, op),
    );
  }

  static async open(linear: DenseLinear, runner: Runner, planes: number): Promise<Head> {
    const head = new Head(linear, runner.threads, planes);
    head.#executor = await runner.open(head.#arena.memory);
    return head;
  }

  get words(): Uint32Array {
    return new Uint32Array(this.#arena.memory.buffer);
  }

  #emit(index: number, op: number): void {
    const { weights, dtype, rows, cols, rowBytes, rowScales, bias } = this.#placed;
    const words = new Uint32Array(INSTRUCTION_WORDS);
    words[0] = op;
    words[W_SRC] = this.#x;
    words[W_SRC_STRIDE] = pad(this.#cols, ROW_PAD);
    words[W_DST] = this.#y;
    words[W_DST_STRIDE] = this.#stride;
    words[M_WEIGHTS] = weights;
    words[M_DTYPE] = dtype;
    words[M_ROWS] = rows;
    words[M_COLS] = this.#cols;
    words[M_ROW_BYTES] = rowBytes;
    words[M_ROW_SCALES] = rowScales;
    words[M_BIAS] = bias;
    words[M_WIDTH] = cols;
    words[M_HEAD_ONLY] = 1;
    words[M_SKETCH] = this.#address;
    this.words.set(words, (this.#program + index * INSTRUCTION_BYTES) >> 2);
  }

  /** @param states [count, cols] that directions are taken from */
  async fill(states: Float32Array): Promise<void> {
    const { buffer } = this.#arena.memory;
    this.#sketch.observe(buffer, states);
    this.#sketch.write(buffer);
    await this.#executor.run(this.#program, this.#program + INSTRUCTION_BYTES);
    this.#sketch.settle(buffer);
  }

  get ready(): boolean {
    return this.#sketch.ready;
  }

  async #run(x: Float32Array, wanted: number): Promise<void> {
    new Float32Array(this.#arena.memory.buffer).set(x, this.#x >> 2);
    askForShortlist(this.#arena.memory.buffer, wanted);
    await this.#executor.run(this.#program + INSTRUCTION_BYTES, this.#program + 5 * INSTRUCTION_BYTES);
  }

  async all(x: Float32Array): Promise<Float32Array> {
    await this.#run(x, 0);
    return new Float32Array(this.#arena.memory.buffer).slice(
      this.#y >> 2,
      (this.#y >> 2) + this.#placed.rows,
    );
  }

  async largest(x: Float32Array, wanted: number) {
    await this.#run(x, wanted);
    return this.#sketch.read(this.#arena.memory.buffer, wanted);
  }

  /** Everything that the filling instruction wrote, and the estimates of the last shortlist. */
  state(): Record<string, Uint8Array> {
    const words = new Uint32Array(this.#arena.memory.buffer, this.#address);
    const rows = pad(this.#placed.rows, 16);
    const planeBytes = (rows * this.#cols) / 8;
    const read = (word: number, bytes: number): Uint8Array =>
      Uint8Array.from(new Uint8Array(this.#arena.memory.buffer, words[word], bytes));
    return {
      plane: read(Q_PLANE, planeBytes),
      second: words[Q_PLANES] === 2 ? read(Q_SECOND_PLANE, planeBytes) : new Uint8Array(),
      coefficients: read(Q_COEFFICIENTS, rows * 32),
      parameters: read(Q_PARAMETERS, rows * 4 * SKETCH_PARAMETERS),
      estimates: read(Q_ESTIMATES, this.#placed.rows * 4),
    };
  }

  async close(): Promise<void> {
    await this.#executor.dispose();
  }
}

/** What the full product says: values largest first, equal ones by row. */
function best(logits: Float32Array, wanted: number): { ids: number[]; logits: number[] } {
  const ids = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
  const kept = ids.slice(0, wanted);
  return { ids: kept, logits: kept.map((id) => logits[id]) };
}

const MATRICES: Record<string, (rows: number, cols: number, seed: number) => Float32Array> = {
  gaussian: (rows, cols, seed) => gaussian(rows * cols, seed),
  "around a common mean": (rows, cols, seed) => {
    const mean = gaussian(cols, seed + 1);
    return gaussian(rows * cols, seed).map((v, i) => 0.3 * v + mean[i % cols]);
  },
  "rows twice": (rows, cols, seed) => {
    const w = gaussian(rows * cols, seed);
    for (let r = 1; r < rows; r += 2) w.copyWithin(r * cols, (r - 1) * cols, r * cols);
    return w;
  },
  "clusters of near copies": (rows, cols, seed) => {
    const centres = gaussian(4 * cols, seed + 1);
    return gaussian(rows * cols, seed).map(
      (v, i) => 1e-4 * v + centres[(Math.floor(i / cols) % 4) * cols + (i % cols)],
    );
  },
  "heavy tails": (rows, cols, seed) => gaussian(rows * cols, seed).map((v) => v ** 7),
  sparse: (rows, cols, seed) => {
    const next = generator(seed);
    return gaussian(rows * cols, seed).map((v) => (next() < 3 / cols ? v : 0));
  },
  "constant rows": (rows, cols, seed) => {
    const levels = gaussian(rows, seed);
    return new Float32Array(rows * cols).map((_, i) => levels[Math.floor(i / cols)]);
  },
  zero: (rows, cols) => new Float32Array(rows * cols),
};

const INPUTS: Record<string, (cols: number, seed: number) => Float32Array> = {
  gaussian,
  "heavy tails": (cols, seed) => gaussian(cols, seed).map((v) => v ** 7),
  "one-hot": (cols, seed) => new Float32Array(cols).fill(3, seed % cols, (seed % cols) + 1),
  "two outliers": (cols, seed) =>
    gaussian(cols, seed).map((v, i) => (i === 1 || i === cols - 1 ? 60 * v : v)),
  zero: (cols) => new Float32Array(cols),
};

const SHAPES = [
  [1, 1],
  [5, 3],
  [16, 16],
  [37, 33],
  [300, 40],
  [1003, 100],
  [2500, 64],
  [130, 1100],
] as const;

describe.each(SHAPES)("the largest of %i rows by %i", (rows, cols) => {
  const runners = [
    kernels("baseline", 1),
    kernels("relaxed", 1),
    kernels("relaxed", 2),
    kernels("baseline", 3),
  ];
  it.each(Object.keys(MATRICES))("of a matrix %s are those of the whole product", async (kind) => {
    const index = Object.keys(MATRICES).indexOf(kind) + rows;
    // One build on one thread; now and then several threads as well.
    for (const i of index % 4 === 0 ? [0, 2, 3] : [index % 2]) {
      const runner = runners[i];
      const seed = SEED + 31 * index + i;
      const dtype = DTYPES[(index + i) % DTYPES.length];
      const bias = seed % 3 === 0 ? gaussian(rows, seed + 5) : undefined;
      const linear = store(denseFromF32(MATRICES[kind](rows, cols, seed), rows, cols, bias), dtype);
      const head = await Head.open(linear, runner, 1 + (seed % 2));
      await head.fill(gaussian(40 * cols, seed + 9));
      expect(head.ready).toBe(true);
      for (const [name, input] of Object.entries(INPUTS)) {
        for (let n = 0; n < 2; n++) {
          const x = input(cols, seed + n);
          const logits = await head.all(x);
          for (const wanted of [1, 2, 40, rows + 3]) {
            if (wanted > 1024) continue;
            const got = await head.largest(x, Math.min(wanted, rows));
            const what = `${runner.name}, ${dtype}, x ${name}, ${wanted} wanted, seed ${SEED}`;
            const want = best(logits, Math.min(wanted, rows));
            expect([...(got?.ids ?? [])], what).toEqual(want.ids);
            expect(got?.logits, what).toEqual(Float32Array.from(want.logits));
          }
        }
      }
      await head.close();
    }
  });
});

describe("a sketch", () => {
  it.each([
    [37, 33, 2],
    [60, 48, 1],
    [20, 1100, 2],
    [50, 256, 2],
  ])("of %i rows by %i is what its twin makes, and so are its estimates", async (rows, cols, planes) => {
    for (const dtype of DTYPES) {
      const seed = SEED + rows;
      const linear = store(denseFromF32(gaussian(rows * cols, seed), rows, cols), dtype);
      for (const simd of ["baseline", "relaxed"] as const) {
        const states: Record<string, Uint8Array>[] = [];
        const lists: unknown[] = [];
        for (const runner of [twin(simd === "relaxed"), kernels(simd, 1), kernels(simd, 2)]) {
          const head = await Head.open(linear, runner, planes);
          await head.fill(gaussian(40 * cols, seed + 1));
          const list = await head.largest(gaussian(cols, seed + 2), 7);
          lists.push({ ids: list?.ids, logits: list?.logits });
          const state = head.state();
          // Which rows were picked first depends on the number of threads.
          if (runner.threads > 1) delete state.estimates;
          states.push(state);
          await head.close();
        }
        expect(states[1], `${simd} ${dtype}`).toEqual(states[0]);
        delete states[0].estimates;
        expect(states[2], `${simd} ${dtype}, two threads`).toEqual(states[0]);
        expect(lists[1]).toEqual(lists[0]);
        expect(lists[2]).toEqual(lists[0]);
      }
    }
  });

  it("is not used for a matrix that is not finite", async () => {
    const w = gaussian(50 * 40, SEED);
    w[777] = NaN;
    const head = await Head.open(denseFromF32(w, 50, 40), kernels("relaxed", 1), 2);
    await head.fill(gaussian(40 * 40, 1));
    expect(head.ready).toBe(false);
  });

  it("gives no list for an input that is not finite", async () => {
    const head = await Head.open(denseFromF32(gaussian(50 * 40, SEED), 50, 40), kernels("relaxed", 1), 2);
    await head.fill(gaussian(40 * 40, 1));
    const x = gaussian(40, 2);
    x[7] = Infinity;
    expect(await head.largest(x, 1)).toBeUndefined();
  });
});
