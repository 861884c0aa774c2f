/**
 * The student under training. A step runs micro-batches of windows forward, keeping each block's input; then every
 * block, last first, recomputes itself and returns its gradients. Where nothing needs the gradient of the whole, a block
 * is updated at once, so that gradients of only one exist at a time; with clipping or accumulation they are gathered.
 */
import {
  accumulate,
  clipScale,
  type CompileOptions,
  constantSchedule,
  cosineSchedule,
  type Results,
} from "@subbit/engine";
import { SubbitError } from "@subbit/core";
import { exposedRole, flipPlan } from "../optimise/flips.js";
import type { LatentStepper } from "../optimise/latent-stepper.js";
import { mix, Scratch } from "../optimise/moments.js";
import { collectsGradients, latentStepper } from "../optimise/stepper.js";
import { SurrogateSteps } from "../optimise/surrogate-step.js";
import { BlockTrainer } from "../student/trainer.js";
import { FinalNormTrainer } from "./final-norm.js";
import { addTo, type BatchLoss, type ForwardResult, ModelForward } from "./model-forward.js";
import { stepWindows } from "./step-windows.js";
import type { DistilSnapshot, DistilTask } from "./types.js";

export interface StepOutcome {
  readonly loss: BatchLoss;
  /** Of the whole gradient before clipping, where it is gathered. */
  readonly gradientNorm?: number;
  /** Factor of the schedule. */
  readonly rate: number;
}

/** Windows of the sample that says whether training helped. */
const SAMPLE = 8;

export class ModelTrainer {
  readonly blocks: readonly BlockTrainer[];
  readonly #task: DistilTask;
  readonly #forward: ModelForward;
  readonly #stepper: LatentStepper;
  readonly #surrogate: SurrogateSteps | undefined;
  readonly #finalNorm: FinalNormTrainer;
  readonly #schedule: (step: number) => number;
  readonly #flips: ReturnType<typeof flipPlan> | undefined;
  /** A short run of flips moves scales further in a step, as it does signs, where their rate is that of the official run. */
  readonly #stretch: number;
  /** Draw of exposed linears that is in force. */
  #draw = -1;
  /** Arrays for the gradients of one block at a time, by program. */
  readonly #buffers = new Map<string, Results>();
  /** Gradients by block, where they are gathered. */
  readonly #gathered = new Map<number, Results>();

  private constructor(
    task: DistilTask,
    blocks: readonly BlockTrainer[],
    forward: ModelForward,
    compile: CompileOptions,
  ) {
    const { recipe, steps, student } = task;
    this.#task = task;
    this.blocks = blocks;
    this.#forward = forward;
    this.#stepper = latentStepper(recipe, steps, compile);
    const gathers = collectsGradients(recipe);
    if (gathers && recipe.optimizer !== "flips")
      this.#surrogate = new SurrogateSteps(recipe.surrogate, compile);
    if (recipe.optimizer === "flips") this.#flips = flipPlan(steps);
    this.#stretch = this.#flips && recipe.ratesAre === "norm" ? this.#flips.stretch : 1;
    this.#finalNorm = new FinalNormTrainer(student.ends.finalNorm.weight, recipe);
    const shape = { steps, warmup: recipe.warmup };
    this.#schedule = recipe.schedule === "cosine" ? cosineSchedule(shape) : constantSchedule(shape);
  }

  static async create(task: DistilTask, compile: CompileOptions): Promise<ModelTrainer> {
    const { spec, student, recipe, seed } = task;
    const { optimizer, rates, ratesAre, latents, optimizerBits } = recipe;
    const scratch = new Scratch();
    const blocks = student.blocks.map(
      (block, layer) =>
        new BlockTrainer(spec, block, {
          rates: { ...rates, weights: 0 },
          ratesAre,
          latents,
          optimizerBits,
          moments: { count: optimizer === "muon" ? 1 : 2, exposedOnly: optimizer === "flips" },
          scratch,
          seed: mix(seed, layer),
        }),
    );
    return new ModelTrainer(task, blocks, await ModelForward.create(task, blocks, compile), compile);
  }

  async dispose(): Promise<void> {
    await this.#forward.dispose();
    await this.#stepper.dispose();
    await this.#surrogate?.dispose();
  }

  /** One optimizer step. Where the loss or the gradient is not finite, nothing moves and the loss says so. */
  async step(step: number): Promise<StepOutcome> {
    this.#expose(step);
    const rate = this.#schedule(step);
    const factor = rate * this.#stretch;
    if (!collectsGradients(this.#task.recipe)) return { loss: await this.#direct(step, factor), rate };
    const { loss, finalNorm } = await this.gather(this.#microBatches(step));
    if (!Number.isFinite(loss.total)) return { loss, rate };
    const gradientNorm = await this.#norm(finalNorm);
    if (!Number.isFinite(gradientNorm)) return { loss: { ...loss, total: NaN }, rate, gradientNorm };
    const { clip } = this.#task.recipe;
    const gradient = clip > 0 ? clipScale(gradientNorm, clip) : 1;
    this.#finalNorm.apply(finalNorm, factor, gradient, step + 1);
    for (const [layer, block] of this.blocks.entries()) {
      await block.apply(
        this.#gathered.get(layer)!,
        { rate: factor, gradient },
        this.#task.recipe,
        this.#stepper,
      );
    }
    return { loss, rate, gradientNorm };
  }

  /** Mean KL of evenly spread windows. */
  async sampleLoss(): Promise<number> {
    const { count } = this.#task.windows;
    const sample = Math.min(SAMPLE, count);
    let sum = 0;
    for (let i = 0; i < sample; i++) {
      const chosen = [Math.floor((i * count) / sample)];
      sum += (await this.#forward.run(chosen, { hidden: false })).loss.logits;
    }
    return sum / sample;
  }

  /**
   * Mean loss of micro-batches and its gradients: of the final norm's weight, and by block as `gradients` gives them (of
   * signs, not yet of latents).
   */
  async gather(
    batches: readonly (readonly number[])[],
  ): Promise<{ loss: BatchLoss; finalNorm: Float32Array }> {
    const share = 1 / batches.length;
    const finalNorm = new Float32Array(this.#finalNorm.weight.length);
    const losses: BatchLoss[] = [];
    for (const [index, chosen] of batches.entries()) {
      const forward = await this.#forward.run(chosen, { share });
      losses.push(forward.loss);
      if (!Number.isFinite(forward.loss.total)) break;
      addTo(finalNorm, forward.finalNorm);
      await this.#backward(chosen.length, forward, (layer, run) =>
        this.#gatherBlock(layer, index === 0, run),
      );
    }
    return { loss: meanLoss(losses), finalNorm };
  }

  /** What `gather` found for a block, by name of the output. */
  gradients(layer: number): Results {
    return this.#gathered.get(layer)!;
  }

  /** What is trained, by name; shared. */
  values(): Map<string, Float32Array> {
    const all = new Map<string, Float32Array>();
    if (this.#finalNorm.trains) all.set("final-norm.weight", this.#finalNorm.weight);
    for (const [layer, block] of this.blocks.entries()) {
      for (const [name, array] of block.values()) all.set(`${layer}.${name}`, array);
    }
    return all;
  }

  /** Signs from latents, after values were set from outside. */
  refresh(): void {
    for (const block of this.blocks) block.refreshSigns();
  }

  arrays(): Map<string, Float32Array | Uint8Array> {
    const arrays = new Map<string, Float32Array | Uint8Array>(this.#finalNorm.snapshotArrays());
    for (const [layer, block] of this.blocks.entries()) {
      for (const [name, array] of block.snapshotArrays()) arrays.set(`${layer}.${name}`, array);
    }
    return arrays;
  }

  /** Throws `input` when the snapshot is of something else. */
  restore({ step, arrays }: DistilSnapshot): void {
    // What was exposed at the last step is what the snapshot has the evidence of.
    if (step > 0) this.#expose(step - 1);
    for (const [name, own] of this.arrays()) setFrom(own, arrays, name);
    const exposedAt = this.#flips ? Math.max(0, this.#draw) * this.#flips.interval : 0;
    for (const block of this.blocks) block.resume(step, exposedAt);
  }

  #microBatches(step: number): number[][] {
    const { windows, recipe, seed } = this.#task;
    const batch = Math.min(recipe.batch, windows.count);
    const chosen = stepWindows(step, batch * recipe.accumulate, windows.count, seed);
    return Array.from({ length: recipe.accumulate }, (_, i) => chosen.slice(i * batch, (i + 1) * batch));
  }

  /** A step that updates every block as soon as its gradients are there; the loss before it. */
  async #direct(step: number, factor: number): Promise<BatchLoss> {
    const [chosen] = this.#microBatches(step);
    const forward = await this.#forward.run(chosen);
    if (!Number.isFinite(forward.loss.total)) return forward.loss;
    this.#finalNorm.apply(forward.finalNorm, factor, 1, step + 1);
    await this.#backward(chosen.length, forward, async (layer, run) => {
      const gradients = await run((make) => this.#sharedBuffers(this.blocks[layer], make));
      await this.blocks[layer].apply(gradients, { rate: factor }, this.#task.recipe, this.#stepper);
      return gradients;
    });
    return forward.loss;
  }

  /** Runs every block backward, last first; `handle` gets a function that runs one, given arrays for the gradients. */
  async #backward(
    batch: number,
    { inputs, dOut, injected }: ForwardResult,
    handle: (layer: number, run: RunBackward) => Promise<Results>,
  ): Promise<void> {
    const shape = { batch, tokens: this.#task.windows.seqlen };
    let arriving = dOut;
    for (let layer = this.blocks.length - 1; layer >= 0; layer--) {
      const { forms, trainable, feeds } = this.blocks[layer];
      const program = await this.#forward.programs.get(forms, { ...shape, mode: "backward", trainable });
      const made = await handle(layer, (buffers) =>
        program.run(
          { ...feeds, hidden: inputs[layer], dOut: arriving },
          buffers(() => BlockTrainer.gradientBuffers(program)),
        ),
      );
      arriving = made["dHidden"];
      const own = injected.get(layer);
      if (own) addTo(arriving, own);
    }
  }

  /** Adds a block's gradients of one micro-batch to those gathered. */
  async #gatherBlock(layer: number, first: boolean, run: RunBackward): Promise<Results> {
    const known = this.#gathered.get(layer);
    if (first) {
      const made = await run((make) => known ?? make());
      const weights = Object.entries(made).filter(([name]) => name !== "dHidden");
      this.#gathered.set(layer, Object.fromEntries(weights));
      return made;
    }
    const made = await run((make) => this.#sharedBuffers(this.blocks[layer], make));
    for (const [name, sum] of Object.entries(known!)) accumulate(sum, made[name]);
    return made;
  }

  async #norm(finalNorm: Float32Array): Promise<number> {
    let squares = this.#finalNorm.trains ? finalNorm.reduce((sum, value) => sum + value * value, 0) : 0;
    for (const [layer, block] of this.blocks.entries()) {
      squares += await block.collect(this.#gathered.get(layer)!, this.#surrogate);
    }
    return Math.sqrt(squares);
  }

  #sharedBuffers({ forms, trainable }: BlockTrainer, make: () => Results): Results {
    const key = JSON.stringify([forms, trainable]);
    const known = this.#buffers.get(key) ?? make();
    this.#buffers.set(key, known);
    return known;
  }

  /** Exposes the linears of the step's draw, where signs move by flips. */
  #expose(step: number): void {
    if (!this.#flips) return;
    const draw = Math.floor(step / this.#flips.interval);
    if (draw === this.#draw) return;
    this.#draw = draw;
    for (const [layer, block] of this.blocks.entries())
      block.expose(exposedRole(this.#task.seed, draw, layer));
    this.#gathered.clear();
  }
}

/** Runs a block's backward program with the arrays that it is given, or makes, for gradients. */
type RunBackward = (buffers: (make: () => Results) => Results) => Promise<Results>;

function meanLoss(losses: readonly BatchLoss[]): BatchLoss {
  const mean = (pick: (loss: BatchLoss) => number) =>
    losses.reduce((sum, loss) => sum + pick(loss), 0) / losses.length;
  const hidden = losses.every((loss) => loss.hidden !== undefined);
  return {
    logits: mean((loss) => loss.logits),
    ...(hidden && { hidden: mean((loss) => loss.hidden!) }),
    total: mean((loss) => loss.total),
  };
}

/** Copies a snapshot's array into the trainer's own. */
export function setFrom(
  own: Float32Array | Uint8Array,
  arrays: DistilSnapshot["arrays"],
  name: string,
): void {
  const saved = arrays.get(name);
  if (saved?.length !== own.length || saved.constructor !== own.constructor) {
    throw new SubbitError(
      "input",
      `The snapshot of a distillation has no array ${name} of ${own.length} elements; it belongs to another run.`,
    );
  }
  own.set(saved);
}
