/**
 * A batch of windows forward through the student, keeping what enters each block, with the losses between it and the
 * teacher and their gradients: at the last block's output and, where the recipe compares hidden states, at the
 * boundaries between blocks, to be added on the way back.
 */
import { LINEAR_ROLES, SubbitError } from "@subbit/core";
import {
  BlockPrograms,
  type CompileOptions,
  finalNormProgram,
  HeadRunner,
  type Program,
} from "@subbit/engine";
import { gatherWindows } from "../calibrate/windows.js";
import { embed, endsFeeds } from "../student/model-state.js";
import type { BlockTrainer } from "../student/trainer.js";
import { directionSquares, type HiddenTerm, meanSquares } from "./hidden-loss.js";
import { TeacherRun } from "./teacher-run.js";
import type { DistilTask } from "./types.js";

/** Losses of a batch. */
export interface BatchLoss {
  /** Mean KL, nats a token. */
  readonly logits: number;
  /** Before its weight. */
  readonly hidden?: number;
  /** As the recipe weighs the two. */
  readonly total: number;
}

export interface ForwardResult {
  /** What enters each block. */
  readonly inputs: readonly Float32Array[];
  readonly loss: BatchLoss;
  /** Gradient at the last block's output. */
  readonly dOut: Float32Array;
  /** Gradient of the final norm's weight. */
  readonly finalNorm: Float32Array;
  /** Gradients of the hidden-state loss at what enters a block. */
  readonly injected: ReadonlyMap<number, Float32Array>;
}

export interface ForwardOptions {
  /** What gradients are multiplied with. @default 1 */
  readonly share?: number;
  /** Whether hidden states are compared, where the recipe does. @default true */
  readonly hidden?: boolean;
}

/** Programs that are kept at most; more are compiled again when they are needed. */
export const MOST_PROGRAMS = 64;

export class ModelForward {
  readonly programs: BlockPrograms;
  readonly #task: DistilTask;
  readonly #blocks: readonly BlockTrainer[];
  readonly #head: HeadRunner;
  readonly #compile: CompileOptions;
  /** By tokens. */
  readonly #finalNorms = new Map<number, Promise<Program>>();

  private constructor(
    task: DistilTask,
    blocks: readonly BlockTrainer[],
    head: HeadRunner,
    compile: CompileOptions,
  ) {
    this.#task = task;
    this.#blocks = blocks;
    this.#head = head;
    this.#compile = compile;
    this.programs = new BlockPrograms(task.spec, { ...compile, limit: programsOf(task, blocks) });
  }

  /** Throws `internal` when the task lacks the teacher that its recipe needs. */
  static async create(
    task: DistilTask,
    blocks: readonly BlockTrainer[],
    compile: CompileOptions,
  ): Promise<ModelForward> {
    if (!task.teacherBlocks && (task.recipe.loss.hidden > 0 || !task.teacherHidden)) {
      throw new SubbitError("internal", "A distillation was given no teacher to compare hidden states with.");
    }
    const sharedHead = task.student.ends.head === task.teacher.head;
    const options = { ...compile, mode: "kl", gradients: true, sharedHead } as const;
    return new ModelForward(task, blocks, await HeadRunner.create(task.spec, options), compile);
  }

  async dispose(): Promise<void> {
    await this.programs.dispose();
    await this.#head.dispose();
    for (const program of this.#finalNorms.values()) await (await program).dispose();
  }

  async run(chosen: readonly number[], options: ForwardOptions = {}): Promise<ForwardResult> {
    const { share = 1, hidden: compared = true } = options;
    const { spec, student, teacher, windows, recipe } = this.#task;
    const ids = gatherWindows(windows, chosen);
    const shape = { batch: chosen.length, tokens: windows.seqlen };
    const beside = this.#teacherRun(ids, shape);
    const terms = compared && recipe.loss.hidden > 0 ? new HiddenTerms(this.#task, share) : undefined;
    const inputs: Float32Array[] = [embed(student.ends.embedding, spec.hiddenSize, ids)];
    for (const [layer, block] of this.#blocks.entries()) {
      if (beside) terms?.boundary(layer, inputs[layer], beside.hidden);
      const program = await this.programs.get(block.forms, { ...shape, mode: "forward" });
      inputs.push((await program.run({ ...block.feeds, hidden: inputs[layer] }))["out"]);
      await beside?.advance();
    }
    const hidden = inputs.pop()!;
    const teacherHidden = beside ? beside.hidden : await this.#task.teacherHidden!.gather(chosen);
    const { logits: weight, logitsPer } = recipe.loss;
    // A window's tokens are summed, so that each weighs as much as a mean over windows leaves it.
    const perToken = weight / (logitsPer === "token" ? ids.length : chosen.length);
    const sharedHead = student.ends.head === teacher.head;
    const result = await this.#head.run(
      ids.length,
      { ...endsFeeds(student.ends), ...endsFeeds(teacher, "teacher.", !sharedHead) },
      { hidden, teacherHidden, tokenWeights: new Float32Array(ids.length).fill(perToken * share) },
    );
    const logits = result["tokenKl"].reduce((sum, kl) => sum + kl, 0) / ids.length;
    const [dOut, finalNorm] = [result["dHidden"], result["grad.final-norm.weight"]];
    if (terms && recipe.loss.hiddenKind === "mse") {
      terms.add(
        await this.#behindFinalNorm(hidden, teacherHidden, share * recipe.loss.hidden, dOut, finalNorm),
      );
    }
    const total = perToken * ids.length * logits + (terms ? recipe.loss.hidden * terms.loss : 0);
    const loss = { logits, ...(terms && { hidden: terms.loss }), total };
    return { inputs, loss, dOut, finalNorm, injected: terms?.injected ?? new Map<number, Float32Array>() };
  }

  #teacherRun(ids: Int32Array, shape: { batch: number; tokens: number }): TeacherRun | undefined {
    const { spec, teacher, teacherBlocks, teacherHidden, recipe } = this.#task;
    if (!teacherBlocks || (recipe.loss.hidden === 0 && teacherHidden)) return undefined;
    return new TeacherRun(
      teacherBlocks,
      this.programs,
      embed(teacher.embedding, spec.hiddenSize, ids),
      shape,
    );
  }

  /** Loss of the last states behind the final norms; its gradients are added to `dOut` and `finalNorm`. */
  async #behindFinalNorm(
    hidden: Float32Array,
    teacherHidden: Float32Array,
    scale: number,
    dOut: Float32Array,
    finalNorm: Float32Array,
  ): Promise<number> {
    const { spec, student, teacher } = this.#task;
    const tokens = hidden.length / spec.hiddenSize;
    const known = this.#finalNorms.get(tokens);
    const made = known ?? finalNormProgram(spec, { ...this.#compile, tokens });
    this.#finalNorms.set(tokens, made);
    const program = await made;
    const feeds = { ...endsFeeds(student.ends, "", false), ...endsFeeds(teacher, "teacher.", false) };
    const found = await program.run({ ...feeds, hidden, teacherHidden, scale: Float32Array.of(scale) });
    addTo(dOut, found["dHidden"]);
    addTo(finalNorm, found["grad.final-norm.weight"]);
    return found["loss"][0];
  }
}

/** Programs that a step may need: the teacher's, and of every distinct shape of a block one forward, the rest backward. */
function programsOf({ recipe }: DistilTask, blocks: readonly BlockTrainer[]): number {
  const shapes = new Set(blocks.map(({ forms }) => JSON.stringify(forms))).size;
  // With flips a block has no exposed linear or any one of them.
  const backward = recipe.optimizer === "flips" ? 1 + LINEAR_ROLES.length : 1;
  return Math.min(MOST_PROGRAMS, 1 + shapes * (1 + backward));
}

/** Sums the hidden-state loss over the boundaries that its kind compares. */
class HiddenTerms {
  readonly injected = new Map<number, Float32Array>();
  loss = 0;
  readonly #task: DistilTask;
  readonly #share: number;

  constructor(task: DistilTask, share: number) {
    this.#task = task;
    this.#share = share;
  }

  /** What enters block `layer` in student and teacher. */
  boundary(layer: number, student: Float32Array, teacher: Float32Array): void {
    const { spec, recipe } = this.#task;
    const { hidden, hiddenKind } = recipe.loss;
    const scale = this.#share * hidden;
    let term: HiddenTerm;
    if (hiddenKind === "normalised") term = directionSquares(student, teacher, spec.hiddenSize, scale);
    // Outputs of blocks only: the first is what enters the second.
    else if (layer > 0) term = meanSquares(student, teacher, scale);
    else return;
    this.add(term.loss);
    this.injected.set(layer, term.gradient);
  }

  add(loss: number): void {
    this.loss += loss;
  }
}

/** sum += part */
export function addTo(sum: Float32Array, part: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] += part[i];
}
