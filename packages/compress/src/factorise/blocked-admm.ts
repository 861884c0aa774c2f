/**
 * ADMM with a unit middle scale for matrices whose factors are too large for one program: the same half iterations
 * (admm-program.ts) on slabs of rows, which do not depend on one another once the inverse stands. All that is kept of a
 * factor is P = V + U, [n, rank]: its signs and magnitudes are A, the rest U = P - A. Memory is the matrix in bytes (both
 * ways round), the factors in floats and a few [rank, rank]; time grows as rank n m (in bytes) + rank^2 (n + m).
 */
import { normalVariates, throwIfAborted } from "@subbit/core";
import { compile, Graph, ops, type Program } from "@subbit/engine";
import type { AdmmVariant } from "./admm-program.js";
import { type AdmmRun, START_SIZE } from "./admm.js";
import { gramSums } from "./integer-gram.js";
import { type IntegerWeight, LARGEST_CODE, LEVELS, ZERO_POINT } from "./integer-weight.js";
import { Identities } from "./inverse.js";
import { oneOff } from "./products.js";
import { Programs } from "./programs.js";
import {
  INVERSE_ERROR_LIMIT,
  scheduledShift,
  scheduleRow,
  scheduleWidth,
  shiftedInverse,
} from "./shifted-inverse.js";
import type { SignPath } from "./sign-path.js";

/** Rows of a slab: products of this height run at full speed. */
const SLAB = 2048;
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
  run: BlockedRun,
  programs: BlockedPrograms,
): Promise<void> {
  const { shape, signal, slab = SLAB } = run;
  const { rank } = shape;
  const norm = normOf(other);
  const otherLength = other.levels.length;
  const factorCodes = signedLevels(other, rank);
  const inverse = await invertedGram(other, factorCodes, rho, run, programs);
  const size = Float32Array.of(norm);
  const room = programs.buffer("next", Math.min(slab, self.levels.length) * rank);
  let largest = 0;
  const own = magnitudes(self);
  for (let begin = 0; begin < self.levels.length; begin += slab) {
    throwIfAborted(signal);
    const end = Math.min(begin + slab, self.levels.length);
    const program = await programs.update(end - begin, otherLength);
    const latents = self.latents.subarray(begin * rank, end * rank);
    const next = room.subarray(0, latents.length);
    const feeds = {
      codes: codes.subarray(begin * otherLength, end * otherLength),
      codeScales: scales.subarray(begin, end).map((scale) => scale * other.step),
      factor: factorCodes,
      inverse,
      norm: size,
      pull: Float32Array.of(norm * rho),
      latents,
      magnitudes: own.subarray(begin, end),
    };
    const { means } = await program.run(feeds, { next });
    latents.set(next);
    means.forEach((mean, i) => {
      own[begin + i] = mean / self.equaliser[begin + i];
      largest = Math.max(largest, own[begin + i]);
    });
  }
  self.step = Math.max(largest, TINY) / LEVELS;
  own.forEach((mean, i) => (self.levels[i] = levelOf(mean / self.step)));
}

/** (X^T X / norm^2 + shift)^-1 of the other factor's X, [rank, rank]; its diagonal is 1, so that sums of codes will do. */
async function invertedGram(
  { levels, step, equaliser }: Factor,
  codes: Int8Array,
  rho: number,
  { shape: { rank }, variant, slab = SLAB }: BlockedRun,
  programs: BlockedPrograms,
): Promise<Float32Array> {
  // The square of a magnitude is shared between two codes, as in `unitGram`.
  const shares = Float32Array.from(levels, (level, i) => level * step * equaliser[i] ** 2);
  const largest = shares.reduce((best, share) => Math.max(best, share), TINY);
  const weights = shares.map((share) => Math.round((share / largest) * LARGEST_CODE));
  const diagonal = weights.reduce((sum, weight, i) => sum + weight * levels[i], 0);
  const gram = programs.buffer("gram", rank * rank).fill(0);
  const sums = programs.buffer("sums", rank * rank);
  for (let begin = 0; begin < levels.length; begin += slab) {
    const end = Math.min(begin + slab, levels.length);
    const program = await programs.gram(end - begin);
    const feeds = {
      codes: codes.subarray(begin * rank, end * rank),
      weights: weights.subarray(begin, end),
    };
    await program.run(feeds, { sums });
    for (let i = 0; i < gram.length; i++) gram[i] += sums[i];
  }
  for (let i = 0; i < gram.length; i++) gram[i] /= diagonal;
  const schedule = scheduleRow(rho, settingsOf(rank, variant, false));
  // The sums are added up by now: their room serves the inverse.
  const inverse = sums;
  if (!programs.careful) {
    const { error } = await (await programs.inverse(false)).run({ gram, schedule }, { inverse });
    if (error[0] <= INVERSE_ERROR_LIMIT ** 2 * rank) return inverse;
    programs.careful = true;
  }
  await (await programs.inverse(true)).run({ gram, schedule }, { inverse });
  return inverse;
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

/** Programs of one run, made when first needed, and the arrays that they write into. */
class BlockedPrograms {
  /** Whether a plain inverse was too far off once. */
  careful = false;
  /** Kept from slab to slab: what a program allocates for results is given back too late to bound memory. */
  readonly #buffers = new Map<string, Float32Array>();
  readonly #rank: number;
  readonly #variant: BlockedRun["variant"];
  readonly #programs: Programs;

  constructor({ shape, variant, threads }: BlockedRun) {
    this.#rank = shape.rank;
    this.#variant = variant;
    this.#programs = new Programs(threads);
  }

  /** The array of a name, as the last use left it. */
  buffer(name: string, length: number): Float32Array {
    const known = this.#buffers.get(name);
    if (known !== undefined && known.length >= length) return known.subarray(0, length);
    const made = new Float32Array(length);
    this.#buffers.set(name, made);
    return made;
  }

  gram(height: number): Promise<Program> {
    return this.#once("gram", height, 0, () => gramGraph(height, this.#rank));
  }

  inverse(careful: boolean): Promise<Program> {
    const settings = settingsOf(this.#rank, this.#variant, careful);
    return this.#once(`inverse ${careful}`, 0, 0, () => inverseGraph(settings));
  }

  update(height: number, other: number): Promise<Program> {
    return this.#once("update", height, other, () => updateGraph(height, other, this.#rank));
  }

  dispose(): Promise<void> {
    return this.#programs.dispose();
  }

  #once(kind: string, rows: number, cols: number, graph: () => Graph): Promise<Program> {
    const make = () => compile(graph(), oneOff(this.#programs.threads));
    return this.#programs.once(kind, { rows, cols, rank: this.#rank }, make);
  }
}

/** What a slab adds to the Gram matrix of codes, `sums` [rank, rank]. */
function gramGraph(height: number, rank: number): Graph {
  const graph = new Graph();
  const codes = graph.input("codes", [height, rank], "i8");
  graph.output("sums", gramSums(codes, graph.input("weights", [height, 1])));
  return graph;
}

function inverseGraph(settings: ReturnType<typeof settingsOf>): Graph {
  const { rank } = settings;
  const graph = new Graph();
  const gram = graph.input("gram", [rank, rank]);
  const shift = scheduledShift(graph.input("schedule", [scheduleWidth(settings)]), settings);
  const probe = graph.constant(normalVariates(rank, { seed: 0 }), [rank, 1]);
  const { inverse, error } = shiftedInverse(gram, shift, probe, settings, new Identities(graph));
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
