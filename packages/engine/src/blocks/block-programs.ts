/** A cache of block programs by everything that distinguishes them. */
import type { ModelSpec } from "@subbit/core";
import type { CompileOptions, Program } from "../program.js";
import { blockProgram, type BlockProgramOptions } from "./block-program.js";
import type { BlockForms } from "./forms.js";

export interface BlockProgramsOptions extends CompileOptions {
  /**
   * How many compiled programs are kept; the least recently used is disposed when there are more, so a program is to
   * be asked for again rather than held. A program keeps memory for its activations. @default 8
   */
  readonly limit?: number;
}

export type BlockProgramKey = Omit<BlockProgramOptions, keyof CompileOptions>;

export class BlockPrograms {
  readonly #spec: ModelSpec;
  readonly #compile: CompileOptions;
  readonly #limit: number;
  /** In order of last use. */
  readonly #programs = new Map<string, Promise<Program>>();

  constructor(spec: ModelSpec, options: BlockProgramsOptions = {}) {
    const { limit = 8, ...compile } = options;
    this.#spec = spec;
    this.#compile = compile;
    this.#limit = limit;
  }

  /** The program of these forms and options, compiled at most once while it is kept. */
  async get(forms: BlockForms, key: BlockProgramKey): Promise<Program> {
    const id = JSON.stringify([
      this.#spec.linears.map((role) => forms[role]),
      this.#spec.kindOfLayer[key.layer],
      key.batch,
      key.tokens,
      key.mode,
      key.trainable ?? [],
      key.gram ?? false,
    ]);
    const program = this.#programs.get(id) ?? blockProgram(this.#spec, forms, { ...this.#compile, ...key });
    this.#programs.delete(id);
    this.#programs.set(id, program);
    const made = await program;
    await this.#evict();
    return made;
  }

  /** Frees every program. */
  async dispose(): Promise<void> {
    const programs = [...this.#programs.values()];
    this.#programs.clear();
    for (const program of programs) await (await program).dispose();
  }

  async #evict(): Promise<void> {
    while (this.#programs.size > this.#limit) {
      const [oldest, program] = this.#programs.entries().next().value as [string, Promise<Program>];
      this.#programs.delete(oldest);
      await (await program).dispose();
    }
  }
}
