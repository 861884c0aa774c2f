/**
 * Training one block against the teacher's: inputs come from the compressed prefix, targets are what the original block
 * makes of the original activations, so a block also learns to undo the errors of those before it. The loss weighs
 * every feature of the residual stream by how much the model's own loss cares for it (NanoQuant, section on block
 * reconstruction). Never worse than before: the best state by the loss on a fixed sample of windows is returned.
 */
import { type ModelSpec, throwIfAborted } from "@subbit/core";
import { type BlockPrograms, cosineSchedule, type Program } from "@subbit/engine";
import { stepWindows } from "../distil/step-windows.js";
import type { LatentStepper } from "../optimise/latent-stepper.js";
import { type BlockState, copyBlock } from "../student/state.js";
import type { HiddenSource } from "../student/hidden-store.js";
import type { TrainerRates } from "../student/parameters.js";
import { BlockTrainer, type OptimizerSettings } from "../student/trainer.js";

/** What a block trains on. */
export interface BlockData {
  /** What enters the block in the student. */
  readonly inputs: HiddenSource;
  /** What leaves it in the teacher. */
  readonly targets: HiddenSource;
  /** [hiddenSize], mean 1. */
  readonly importance: Float32Array;
  /** Windows. */
  readonly count: number;
  readonly seqlen: number;
  /** The block's number. */
  readonly layer: number;
}

export interface TrainBlockOptions extends OptimizerSettings {
  readonly epochs: number;
  /** Windows a step. */
  readonly batch: number;
  readonly warmup: number;
  readonly rates: TrainerRates;
  readonly seed: number;
  readonly signal?: AbortSignal;
  /** Called after each step. */
  readonly onStep?: (done: number, total: number) => void;
}

export interface TrainedBlock {
  readonly state: BlockState;
  /** Loss on the sample before and after. */
  readonly lossBefore: number;
  readonly lossAfter: number;
}

/** Windows of the sample that decides what is best. */
const SAMPLE = 16;

/** Trains a copy of `state`. */
export async function trainBlock(
  spec: ModelSpec,
  state: BlockState,
  data: BlockData,
  programs: BlockPrograms,
  latentSteps: LatentStepper,
  options: TrainBlockOptions,
): Promise<TrainedBlock> {
  const { epochs, seed, rates, warmup, signal, onStep } = options;
  const batch = Math.min(options.batch, data.count);
  const trainer = new BlockTrainer(spec, copyBlock(state), { rates });
  const tune = () =>
    programs.get(trainer.forms, {
      batch,
      tokens: data.seqlen,
      layer: data.layer,
      mode: "tune",
      trainable: trainer.trainable,
    });
  const lossBefore = await sampleLoss(trainer, data, programs);
  const buffers = BlockTrainer.gradientBuffers(await tune());
  const stepsPerEpoch = Math.ceil(data.count / batch);
  const total = epochs * stepsPerEpoch;
  const schedule = cosineSchedule({ steps: total, warmup });
  for (let step = 0; step < total; step++) {
    throwIfAborted(signal);
    const chosen = stepWindows(step, batch, data.count, seed);
    const gradients = await runTune(await tune(), trainer, data, chosen, buffers);
    // Rates too large for this block: the start is kept.
    if (!Number.isFinite(gradients["loss"][0])) return { state, lossBefore, lossAfter: lossBefore };
    await trainer.apply(gradients, { rate: schedule(step) }, options, latentSteps);
    onStep?.(step + 1, total);
  }
  const lossAfter = await sampleLoss(trainer, data, programs);
  // With rates falling to zero the end is the best point of a run that works; a run that does not is dropped whole.
  return lossAfter <= lossBefore
    ? { state: trainer.state, lossBefore, lossAfter }
    : { state, lossBefore, lossAfter: lossBefore };
}

async function runTune(
  program: Program,
  trainer: BlockTrainer,
  { inputs, targets, importance }: BlockData,
  windows: readonly number[],
  buffers: Record<string, Float32Array> = {},
): Promise<Record<string, Float32Array>> {
  const [hidden, target] = [await inputs.gather(windows), await targets.gather(windows)];
  return program.run({ ...trainer.feeds, hidden, target, importance }, buffers);
}

/** Mean loss over evenly spread windows. */
async function sampleLoss(trainer: BlockTrainer, data: BlockData, programs: BlockPrograms): Promise<number> {
  const count = Math.min(SAMPLE, data.count);
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const window = Math.floor((i * data.count) / count);
    const program = await programs.get(trainer.forms, {
      batch: 1,
      tokens: data.seqlen,
      layer: data.layer,
      mode: "tune",
    });
    sum += (await runTune(program, trainer, data, [window]))["loss"][0];
  }
  return sum / count;
}
