/**
 * ADMM with a unit middle scale for matrices whose factors are too large for one program: the same half iterations
 * (admm-program.ts) on slabs of rows, which do not depend on one another once the inverse stands. All that is kept of a
 * factor is P = V + U, [n, rank]: its signs and magnitudes are A, the rest U = P - A. Memory is the matrix in bytes (both
 * ways round), the factors in floats and a few [rank, rank]; time grows as rank n m (in bytes) + rank^2 (n + m).
 */
import { normalVariates, throwIfAborted } from "@subbit/core";
import { compile, type CompileOptions, Graph, ops, type Program } from "@subbit/engine";
import type { AdmmVariant } from "./admm-program.js";
import { type AdmmRun, INVERSE_ERROR_LIMIT, START_SIZE } from "./admm.js";
import { type IntegerWeight, LEVELS, ZERO_POINT } from "./integer-weight.js";
import { Identities } from "./inverse.js";
import type { SignPath } from "./sign-path.js";
import { scheduledShift, scheduleRow, scheduleWidth, shiftedInverse } from "./shifted-inverse.js";

/** Rows of a slab: products of this height run at full speed. */
const SLAB = 2048;
/** X^T X is made of blocks of columns, and only of those above the diagonal. */
const GRAM_BLOCKS = 4;
const HUGE = 1e30;
const TINY = 1e-30;

/** From this many entries of both factors on, one program would hold too many copies of them. */
export const BLOCKED_ENTRIES = 48e6;

interface Factor {
  /** [n, rank], P */
  readonly latents: Float32Array;
  /** [n], whole multiples 1..LEVELS of step * equaliser */
  readonly levels: Uint8Array;
  readonly equaliser: Float32Array;
  step: number;
}

export type BlockedRun = Pick<AdmmRun, "shape" | "rhos" | "seed" | "stream" | "signal" | "onIteration"> & {
  readonly variant: Pick<AdmmVariant, "ridge" | "smallestRho">;
  readonly codes: IntegerWeight;
  readonly threads: number;
  /** Rows that are worked on at once. @default 2048 */
  readonly slab?: number;
};

/** Anneals from a random start; the programs are compiled for this run alone. */
export async function runBlockedAdmm(run: BlockedRun): Promise<SignPath> {
  const { shape, codes, rhos, signal } = run;
  const { rows, cols, rank } = shape;
  const out = startFactor(rows, rank, codes.outEqualiser, run, 0);
  const into = startFactor(cols, rank, codes.inEqualiser, run, 1);
  const programs = new BlockedPrograms(run);
  try {
    for (const [done, rho] of rhos.entries()) {
      throwIfAborted(signal);
      await halfIteration(
        out,
        into,
        { codes: codes.outCodes, scales: codes.outCodeScales },
        rho,
        run,
        programs,
      );
      throwIfAborted(signal);
      await halfIteration(
        into,
        out,
        { codes: codes.inCodes, scales: codes.inCodeScales },
        rho,
        run,
        programs,
      );
      run.onIteration?.(done + 1);
    }
  } finally {
    await programs.dispose();
  }
  const norm = normOf(out);
  return {
    outLatents: out.latents,
    inLatents: into.latents,
    outScales: magnitudes(out).map((size) => size / norm),
    inScales: magnitudes(into),
  };
}

interface Side {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
}

async function halfIteration(
  self: Factor,
  other: Factor,
  { codes, scales }: Side,
  rho: number,
  { shape: { rank }, variant, signal, slab = SLAB }: BlockedRun,
  programs: BlockedPrograms,
): Promise<void> {
  const norm = normOf(other);
  const inverse = await invertedGram(other, norm, rho, { rank, variant, slab }, programs);
  const otherLength = other.levels.length;
  const factorCodes = signedLevels(other, rank);
  const size = Float32Array.of(norm);
  let largest = 0;
  const own = magnitudes(self);
  for (let begin = 0; begin < self.levels.length; begin += slab) {
    throwIfAborted(signal);
    const end = Math.min(begin + slab, self.levels.length);
    const program = await programs.update(end - begin, otherLength);
    const latents = self.latents.subarray(begin * rank, end * rank);
    const { next, means } = await program.run({
      codes: codes.subarray(begin * otherLength, end * otherLength),
      codeScales: scales.subarray(begin, end).map((scale) => scale * other.step),
      factor: factorCodes,
      inverse,
      norm: size,
      pull: Float32Array.of(norm * rho),
      latents,
      magnitudes: own.subarray(begin, end),
    });
    latents.set(next);
    means.forEach((mean, i) => {
      own[begin + i] = mean / self.equaliser[begin + i];
      largest = Math.max(largest, own[begin + i]);
    });
  }
  self.step = Math.max(largest, TINY) / LEVELS;
  own.forEach((mean, i) => (self.levels[i] = levelOf(mean / self.step)));
}

/** (X^T X / norm^2 + shift)^-1 of the other factor's X, [rank, rank]. */
async function invertedGram(
  factor: Factor,
  norm: number,
  rho: number,
  { rank, variant, slab }: { rank: number; variant: BlockedRun["variant"]; slab: number },
  programs: BlockedPrograms,
): Promise<Float32Array> {
  let sums: Record<string, Float32Array> = {};
  const sizes = magnitudes(factor).map((size) => size / norm);
  for (let begin = 0; begin < sizes.length; begin += slab) {
    const end = Math.min(begin + slab, sizes.length);
    const program = await programs.gram(end - begin);
    const made = await program.run({
      latents: factor.latents.subarray(begin * rank, end * rank),
      magnitudes: sizes.subarray(begin, end),
    });
    if (begin === 0) sums = made;
    else for (const [name, sum] of Object.entries(sums)) addTo(sum, made[name]);
  }
  const schedule = scheduleRow(rho, settingsOf(rank, variant, false));
  const plain = await (await programs.inverse(false)).run({ ...sums, schedule });
  if (plain.error[0] <= INVERSE_ERROR_LIMIT ** 2 * rank) return plain.inverse;
  return (await (await programs.inverse(true)).run({ ...sums, schedule })).inverse;
}

function settingsOf(rank: number, { ridge, smallestRho }: BlockedRun["variant"], careful: boolean) {
  return { rank, ridge, smallestRho, careful };
}

function startFactor(
  length: number,
  rank: number,
  equaliser: Float32Array,
  { seed, stream }: Pick<BlockedRun, "seed" | "stream">,
  which: number,
): Factor {
  const latents = normalVariates(length * rank, { seed, stream: 2 * stream + which });
  const sizes = new Float32Array(length);
  for (let row = 0; row < length; row++) {
    let sum = 0;
    for (let k = row * rank; k < (row + 1) * rank; k++) sum += Math.abs((latents[k] *= START_SIZE));
    sizes[row] = sum / rank / equaliser[row];
  }
  const step = sizes.reduce((best, size) => Math.max(best, size), TINY) / LEVELS;
  return { latents, equaliser, step, levels: Uint8Array.from(sizes, (size) => levelOf(size / step)) };
}

function levelOf(levels: number): number {
  return Math.max(1, Math.min(LEVELS, Math.round(levels)));
}

/** [n] */
function magnitudes({ levels, step, equaliser }: Factor): Float32Array {
  return Float32Array.from(levels, (level, i) => level * step * equaliser[i]);
}

function normOf(factor: Factor): number {
  return Math.sqrt(magnitudes(factor).reduce((sum, size) => sum + size * size, TINY));
}

/** Signs times levels as the codes of a product, [n, rank]. */
function signedLevels({ latents, levels }: Factor, rank: number): Int8Array {
  const codes = new Int8Array(latents.length);
  levels.forEach((level, row) => {
    for (let k = row * rank; k < (row + 1) * rank; k++) codes[k] = latents[k] < 0 ? -level : level;
  });
  return codes;
}

function addTo(sum: Float32Array, more: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] += more[i];
}

/** Programs of one run, made when first needed. */
class BlockedPrograms {
  readonly #rank: number;
  readonly #variant: BlockedRun["variant"];
  readonly #options: CompileOptions;
  readonly #made = new Map<string, Promise<Program>>();

  constructor({ shape, variant, threads }: BlockedRun) {
    this.#rank = shape.rank;
    this.#variant = variant;
    this.#options = { threads, spin: threads > 1, arena: false };
  }

  gram(height: number): Promise<Program> {
    return this.#once(`gram ${height}`, () => gramGraph(height, this.#rank));
  }

  inverse(careful: boolean): Promise<Program> {
    return this.#once(`inverse ${careful}`, () =>
      inverseGraph(settingsOf(this.#rank, this.#variant, careful)),
    );
  }

  update(height: number, other: number): Promise<Program> {
    return this.#once(`update ${height} ${other}`, () => updateGraph(height, other, this.#rank));
  }

  async dispose(): Promise<void> {
    for (const program of this.#made.values()) await (await program).dispose();
  }

  #once(key: string, graph: () => Graph): Promise<Program> {
    let program = this.#made.get(key);
    if (!program) this.#made.set(key, (program = compile(graph(), this.#options)));
    return program;
  }
}

/** Bounds of the blocks of columns. */
function blockBounds(rank: number): number[] {
  const blocks = Math.min(GRAM_BLOCKS, rank);
  return Array.from({ length: blocks + 1 }, (_, i) => Math.floor((i * rank) / blocks));
}

/** `gram.i.j` for i <= j: what a slab adds to block (i, j) of X^T X. */
function gramGraph(height: number, rank: number): Graph {
  const graph = new Graph();
  const signs = ops.clip(ops.mul(graph.input("latents", [height, rank]), HUGE), -1, 1);
  const x = ops.mul(signs, graph.input("magnitudes", [height, 1]));
  const bounds = blockBounds(rank);
  const parts = bounds.slice(1).map((end, i) => ops.slice(x, 1, bounds[i], end));
  parts.forEach((left, i) =>
    parts.forEach((right, j) => {
      if (j >= i) graph.output(`gram.${i}.${j}`, ops.matmul(left, right, { transA: true }));
    }),
  );
  return graph;
}

function inverseGraph(settings: ReturnType<typeof settingsOf>): Graph {
  const { rank } = settings;
  const graph = new Graph();
  const bounds = blockBounds(rank);
  const sizes = bounds.slice(1).map((end, i) => end - bounds[i]);
  const above = sizes.map((height, i) =>
    sizes.map((width, j) => (j >= i ? graph.input(`gram.${i}.${j}`, [height, width]) : undefined)),
  );
  const rows = sizes.map((_, i) =>
    ops.concat(
      sizes.map((__, j) => above[i][j] ?? ops.transpose(above[j][i]!)),
      1,
    ),
  );
  const shift = scheduledShift(graph.input("schedule", [scheduleWidth(settings)]), settings);
  const probe = graph.constant(normalVariates(rank, { seed: 0 }), [rank, 1]);
  const { inverse, error } = shiftedInverse(
    ops.concat(rows, 0),
    shift,
    probe,
    settings,
    new Identities(graph),
  );
  graph.output("inverse", inverse);
  graph.output("error", error);
  return graph;
}

/** New latents of a slab, `next` [height, rank], and their mean magnitudes, `means` [height, 1]. */
function updateGraph(height: number, other: number, rank: number): Graph {
  const graph = new Graph();
  const sums = ops.matmulInteger(
    graph.input("codes", [height, other], "u8"),
    graph.input("factor", [other, rank], "i8"),
    ZERO_POINT,
  );
  const product = ops.mul(ops.cast(sums, "f32"), graph.input("codeScales", [height, 1]));
  const latents = graph.input("latents", [height, rank]);
  const signs = ops.clip(ops.mul(latents, HUGE), -1, 1);
  const projected = ops.mul(signs, graph.input("magnitudes", [height, 1]));
  // A - U = 2 A - P
  const pull = ops.mul(ops.sub(ops.mul(projected, 2), latents), graph.input("pull", [1, 1]));
  const solved = ops.div(
    ops.matmul(ops.add(product, pull), graph.input("inverse", [rank, rank])),
    graph.input("norm", [1, 1]),
  );
  const next = ops.add(solved, ops.sub(latents, projected));
  const ones = graph.constant(new Float32Array(rank).fill(1 / rank), [rank, 1]);
  graph.output("next", next);
  graph.output("means", ops.matmul(ops.abs(next), ones));
  return graph;
}
