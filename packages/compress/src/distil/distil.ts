/**
 * Whole-model distillation: the mean KL divergence from the teacher's next-token distribution is the only loss.
 *
 * A step runs one batch of windows forward through the packed blocks, keeping each block's input; the head program
 * gives the gradient at the last block's output; then every block, last first, recomputes itself, returns its
 * gradients and is updated at once, so that gradients of only one block exist at a time. Scales and norms always
 * train; latents do where their rate is above 0 (then signs move by the straight-through surrogate).
 * Sources: LittleBit and OneBit (KL distillation), NanoQuant (scales only), see docs/compress.md for what was measured.
 */
import { type ModelSpec, SubbitError, throwIfAborted } from "@subbit/core";
import { BlockPrograms, type CompileOptions, cosineSchedule, HeadRunner, type Results } from "@subbit/engine";
import { gatherWindows, type Windows } from "../calibrate/windows.js";
import { LatentSteps, plainStep } from "../optimise/latent-step.js";
import type { DistilRecipe } from "../recipe.js";
import { meanMagnitude } from "../student/latents.js";
import { embed, type EndsState, endsFeeds, type ModelState } from "../student/model-state.js";
import type { HiddenSource } from "../student/hidden-store.js";
import { BlockTrainer } from "../student/trainer.js";
import { stepWindows } from "./step-windows.js";

export interface DistilTask {
  readonly spec: ModelSpec;
  /** Trained in place. */
  readonly student: ModelState;
  readonly teacher: EndsState;
  /** What leaves the teacher's last block, by window. */
  readonly teacherHidden: HiddenSource;
  readonly windows: Windows;
  readonly recipe: DistilRecipe;
  /** Optimizer steps. */
  readonly steps: number;
  readonly seed: number;
}

/** State between two steps. */
export interface DistilSnapshot {
  readonly arrays: ReadonlyMap<string, Float32Array>;
  /** Steps done. */
  readonly step: number;
  /** Mean KL of each step so far. */
  readonly losses: readonly number[];
  /** Mean KL of the sample before the first step. */
  readonly lossBefore: number;
}

export interface DistilOptions extends CompileOptions {
  readonly signal?: AbortSignal;
  /** Where to go on. @default the beginning */
  readonly from?: DistilSnapshot;
  /** Called after each step. */
  readonly onStep?: (step: number, loss: number) => void;
  /** Called when `snapshotSeconds` have passed since the last one, and when the signal fires. */
  readonly snapshot?: (state: DistilSnapshot) => Promise<void>;
  /** @default 60 */
  readonly snapshotSeconds?: number;
}

export interface DistilResult {
  /** Mean KL of each step, in nats a token. */
  readonly losses: readonly number[];
  /** Mean KL of the sample windows before and after. */
  readonly lossBefore: number;
  readonly lossAfter: number;
}

/** Windows of the sample that says whether training helped. */
const SAMPLE = 8;

/** Trains the student in place. Throws `interrupted`, after a snapshot, when the signal fires. */
export async function distil(task: DistilTask, options: DistilOptions = {}): Promise<DistilResult> {
  const { signal, from, onStep, snapshot, snapshotSeconds = 60, ...compile } = options;
  const trainer = await ModelTrainer.create(task, compile);
  const losses = from ? [...from.losses] : [];
  try {
    const lossBefore = from ? from.lossBefore : await trainer.sampleLoss();
    if (from) trainer.restore(from);
    const state = (step: number): DistilSnapshot => ({ arrays: trainer.arrays(), step, losses, lossBefore });
    let saved = performance.now();
    for (let step = from?.step ?? 0; step < task.steps; step++) {
      if (signal?.aborted && snapshot) await snapshot(state(step));
      throwIfAborted(signal);
      const loss = await trainer.step(step);
      losses.push(loss);
      onStep?.(step, loss);
      if (snapshot && step + 1 < task.steps && performance.now() - saved > snapshotSeconds * 1000) {
        await snapshot(state(step + 1));
        saved = performance.now();
      }
    }
    return { losses, lossBefore, lossAfter: await trainer.sampleLoss() };
  } finally {
    await trainer.dispose();
  }
}

class ModelTrainer {
  readonly #task: DistilTask;
  readonly #programs: BlockPrograms;
  readonly #head: HeadRunner;
  readonly #latentSteps: LatentSteps;
  readonly #blocks: readonly BlockTrainer[];
  /** Absent where the family has no final norm. */
  readonly #finalNorm: { first: Float32Array; second: Float32Array; rate: number } | undefined;
  /** Gradient arrays by program shape, shared by all blocks. */
  readonly #buffers = new Map<string, Results>();

  private constructor(task: DistilTask, programs: BlockPrograms, head: HeadRunner, latentSteps: LatentSteps) {
    const { spec, student, recipe } = task;
    this.#task = task;
    this.#programs = programs;
    this.#head = head;
    this.#latentSteps = latentSteps;
    this.#blocks = student.blocks.map(
      (block) => new BlockTrainer(spec, block, { ...recipe.rates, weights: 0 }),
    );
    const weight = student.ends.finalNorm?.weight;
    this.#finalNorm = weight && {
      first: new Float32Array(weight.length),
      second: new Float32Array(weight.length),
      rate: recipe.rates.norms * meanMagnitude(weight),
    };
  }

  static async create(task: DistilTask, compile: CompileOptions): Promise<ModelTrainer> {
    const sharedHead = task.student.ends.head === task.teacher.head;
    const head = await HeadRunner.create(task.spec, { ...compile, mode: "kl", gradients: true, sharedHead });
    const programs = new BlockPrograms(task.spec, compile);
    return new ModelTrainer(task, programs, head, new LatentSteps(task.recipe.surrogateWidth, compile));
  }

  async dispose(): Promise<void> {
    await this.#programs.dispose();
    await this.#head.dispose();
    await this.#latentSteps.dispose();
  }

  /** Mean KL of the batch, before the update. */
  async step(step: number): Promise<number> {
    const { windows, recipe, steps, seed } = this.#task;
    const batch = Math.min(recipe.batch, windows.count);
    const shape = { batch, tokens: windows.seqlen };
    const { inputs, result, loss } = await this.#forward(stepWindows(step, batch, windows.count, seed));
    if (!Number.isFinite(loss)) {
      throw new SubbitError(
        "input",
        `The distillation diverged at step ${step} (loss ${loss}); ask for smaller rates.`,
      );
    }
    const factor = cosineSchedule({ steps, warmup: recipe.warmup })(step);
    this.#stepFinalNorm(result["grad.final-norm.weight"], factor, step);
    let dOut = result["dHidden"];
    for (let layer = this.#blocks.length - 1; layer >= 0; layer--) {
      const block = this.#blocks[layer];
      const { forms, trainable } = block;
      const program = await this.#programs.get(forms, { ...shape, mode: "backward", layer, trainable });
      const buffers = this.#buffersOf(JSON.stringify(forms), () => BlockTrainer.gradientBuffers(program));
      const gradients = await program.run({ ...block.feeds, hidden: inputs[layer], dOut }, buffers);
      dOut = gradients["dHidden"]!;
      await block.apply(gradients, factor, recipe, this.#latentSteps);
    }
    return loss;
  }

  /** Mean KL of evenly spread windows. */
  async sampleLoss(): Promise<number> {
    const { count } = this.#task.windows;
    const sample = Math.min(SAMPLE, count);
    let sum = 0;
    for (let i = 0; i < sample; i++) sum += (await this.#forward([Math.floor((i * count) / sample)])).loss;
    return sum / sample;
  }

  /** Inputs of all blocks, the head's results and the mean KL of some windows. */
  async #forward(
    chosen: readonly number[],
  ): Promise<{ inputs: Float32Array[]; result: Results; loss: number }> {
    const { spec, student, teacher, teacherHidden, windows } = this.#task;
    const ids = gatherWindows(windows, chosen);
    const shape = { batch: chosen.length, tokens: windows.seqlen };
    const inputs: Float32Array[] = [embed(spec, student.ends, ids, windows.seqlen)];
    for (const [layer, block] of this.#blocks.entries()) {
      const program = await this.#programs.get(block.forms, { ...shape, mode: "forward", layer });
      inputs.push((await program.run({ ...block.feeds, hidden: inputs[layer] }))["out"]);
    }
    const sharedHead = student.ends.head === teacher.head;
    const result = await this.#head.run(
      ids.length,
      { ...endsFeeds(student.ends), ...endsFeeds(teacher, "teacher.", !sharedHead) },
      {
        hidden: inputs.pop()!,
        teacherHidden: await teacherHidden.gather(chosen),
        tokenWeights: new Float32Array(ids.length).fill(1 / ids.length),
      },
    );
    return { inputs, result, loss: result["tokenKl"].reduce((sum, kl) => sum + kl, 0) / ids.length };
  }

  arrays(): Map<string, Float32Array> {
    const arrays = new Map<string, Float32Array>();
    const { finalNorm } = this.#task.student.ends;
    if (finalNorm && this.#finalNorm) {
      arrays.set("final-norm.weight", finalNorm.weight);
      arrays.set("final-norm.weight.first", this.#finalNorm.first);
      arrays.set("final-norm.weight.second", this.#finalNorm.second);
    }
    for (const [layer, block] of this.#blocks.entries()) {
      for (const [name, array] of block.snapshotArrays()) arrays.set(`${layer}.${name}`, array);
    }
    return arrays;
  }

  restore(snapshot: DistilSnapshot): void {
    const own = this.arrays();
    for (const [name, array] of own) array.set(snapshot.arrays.get(name)!);
    for (const block of this.#blocks) block.resume(snapshot.step);
  }

  #buffersOf(key: string, make: () => Results): Results {
    let buffers = this.#buffers.get(key);
    if (buffers === undefined) {
      buffers = make();
      this.#buffers.set(key, buffers);
    }
    return buffers;
  }

  #stepFinalNorm(gradient: Float32Array | undefined, factor: number, step: number): void {
    const { finalNorm } = this.#task.student.ends;
    if (!finalNorm || !this.#finalNorm || !gradient) return;
    const { first, second, rate } = this.#finalNorm;
    const { beta1, beta2 } = this.#task.recipe;
    if (rate === 0) return;
    plainStep(finalNorm.weight, first, second, gradient, {
      beta1,
      beta2,
      rate: (rate * factor) / (1 - beta1 ** (step + 1)),
      secondCorrection: 1 / (1 - beta2 ** (step + 1)),
      floor: 0,
    });
  }
}
