/** Runs head programs over any number of tokens, chunk by chunk; the last chunk is padded and cut. */
import type { ModelSpec } from "@subbit/core";
import { graphError, sizeOf } from "../graph/shapes.js";
import type { HostArray } from "../graph/types.js";
import { accumulate } from "../optim/latents.js";
import type { CompileOptions, Feeds, Program, Results } from "../program.js";
import { HEAD_CHUNK, headProgram, type HeadMode } from "./head-program.js";

export interface HeadRunnerOptions extends CompileOptions {
  readonly mode: HeadMode;
  /** Tokens per run. @default 128 */
  readonly chunk?: number;
  /** @default false */
  readonly gradients?: boolean;
  /** @default false */
  readonly sharedHead?: boolean;
}

export class HeadRunner {
  readonly #program: Program;
  readonly #chunk: number;

  private constructor(program: Program, chunk: number) {
    this.#program = program;
    this.#chunk = chunk;
  }

  static async create(spec: ModelSpec, options: HeadRunnerOptions): Promise<HeadRunner> {
    return new HeadRunner(await headProgram(spec, options), options.chunk ?? HEAD_CHUNK);
  }

  /**
   * Runs over `tokens` tokens. `weights` holds the norm and head feeds, `perToken` the others (`hidden` [tokens, H],
   * `targets` [tokens], `tokenWeights` [tokens], `teacherHidden`), see `headProgram`. Results per token come back
   * joined ([tokens] or [tokens, width]); gradients of weights are summed over chunks.
   */
  async run(tokens: number, weights: Feeds, perToken: Feeds): Promise<Results> {
    const results: Results = {};
    const perTokenOutputs = [...this.#program.outputs].filter(([name]) => !name.startsWith("grad."));
    for (const [name, { shape }] of this.#program.outputs) {
      const width = sizeOf(shape.slice(1));
      results[name] = new Float32Array(name.startsWith("grad.") ? sizeOf(shape) : tokens * width);
    }
    for (let begin = 0; begin < tokens; begin += this.#chunk) {
      const count = Math.min(this.#chunk, tokens - begin);
      const made = await this.#program.run({ ...weights, ...this.#cut(tokens, begin, count, perToken) });
      for (const [name, { shape }] of perTokenOutputs) {
        const width = sizeOf(shape.slice(1));
        results[name].set(made[name].subarray(0, count * width), begin * width);
      }
      for (const [name] of this.#program.outputs) {
        if (name.startsWith("grad.")) accumulate(results[name], made[name]);
      }
    }
    return results;
  }

  /** Frees the program. */
  async dispose(): Promise<void> {
    await this.#program.dispose();
  }

  /** Rows begin .. begin + count of each feed, zero-padded to a chunk (a padded token weighs nothing). */
  #cut(tokens: number, begin: number, count: number, perToken: Feeds): Feeds {
    const cut: Record<string, HostArray> = {};
    for (const [name, data] of Object.entries(perToken)) {
      const width = data.length / tokens;
      if (!Number.isInteger(width))
        throw graphError(`${name} has ${data.length} elements, not a whole number per token.`);
      const part = data.subarray(begin * width, (begin + count) * width);
      cut[name] = count === this.#chunk ? part : padded(part, this.#chunk * width);
    }
    return cut;
  }
}

function padded(part: HostArray, length: number): HostArray {
  if (part instanceof Float32Array) {
    const out = new Float32Array(length);
    out.set(part);
    return out;
  }
  if (!(part instanceof Int32Array)) throw graphError("Feeds of a head program are f32 or i32.");
  const out = new Int32Array(length);
  out.set(part);
  return out;
}
