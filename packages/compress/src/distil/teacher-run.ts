/** The teacher beside the student: its hidden states at one boundary after the other, for one batch of windows. */
import type { BlockPrograms } from "@subbit/engine";
import type { TeacherBlocks } from "../student/teacher-blocks.js";

export interface RunShape {
  readonly batch: number;
  readonly tokens: number;
}

export class TeacherRun {
  readonly #blocks: TeacherBlocks;
  readonly #programs: BlockPrograms;
  readonly #shape: RunShape;
  #hidden: Float32Array;
  #layer = 0;

  /** @param embedded what enters the teacher's first block */
  constructor(blocks: TeacherBlocks, programs: BlockPrograms, embedded: Float32Array, shape: RunShape) {
    this.#blocks = blocks;
    this.#programs = programs;
    this.#hidden = embedded;
    this.#shape = shape;
  }

  /** [batch * tokens, hiddenSize] */
  get hidden(): Float32Array {
    return this.#hidden;
  }

  /** Through the next block. */
  async advance(): Promise<void> {
    const layer = this.#layer++;
    const program = await this.#programs.get(this.#blocks.forms, { ...this.#shape, mode: "forward", layer });
    const feeds = await this.#blocks.feeds(layer);
    this.#hidden = (await program.run({ ...feeds, hidden: this.#hidden }))["out"];
  }
}
