/**
 * How a student is trained: every hyperparameter of block tuning and of whole-model distillation, and the published
 * recipes by name. Sources: LittleBit (arXiv 2506.13771, section 4 and appendix), OneBit (arXiv 2402.11295, section 4),
 * DBF (arXiv 2505.11076, fine-tuning of its section 4, after PV-Tuning), each with the constants of its official runs.
 */
import type { Surrogate } from "@subbit/engine";

/** Step sizes of the parameter groups; `ratesAre` says in what unit. A rate of 0 freezes the group. */
export interface LearningRates {
  /** Of the real numbers that carry the signs. Relative: latents are kept at unit mean magnitude. */
  readonly latents: number;
  /** Relative: fraction of the mean magnitude of each scale vector. */
  readonly scales: number;
  /** Relative: fraction of the mean magnitude of each norm weight. */
  readonly norms: number;
}

/** What all training stages share. */
export interface TrainingRecipe {
  /** Passes over the calibration windows; 0 leaves the stage out. */
  readonly epochs: number;
  readonly rates: LearningRates;
  /** Windows a step (a micro-batch where several are accumulated). */
  readonly batch: number;
  /** Share of the steps with a rising rate; a half cosine to zero follows. */
  readonly warmup: number;
  readonly beta1: number;
  readonly beta2: number;
  /** How far small gradients of latents stay small steps; see `AdamScalars`. */
  readonly floor: number;
}

/** What stands in for the derivative of the sign. */
export type SurrogateChoice = Surrogate;

export interface LossChoice {
  /** Weight of KL(teacher || student) of the next token. */
  readonly logits: number;
  /** KL as a mean over tokens, or summed over a window's tokens and averaged over windows (the papers' `batchmean`). */
  readonly logitsPer: "token" | "window";
  /** Weight of the hidden-state loss; 0 leaves it out. */
  readonly hidden: number;
  /**
   * `mse` (LittleBit): mean over all elements of the squared difference, summed over the outputs of all blocks, the last
   * one behind the final norm. `normalised` (OneBit): states divided by their length, squared difference summed over the
   * width, mean over tokens, summed over the inputs of all blocks.
   */
  readonly hiddenKind: "mse" | "normalised";
}

/** How latents move; scales and norms always move by Adam with decoupled weight decay. */
export type OptimizerChoice = "adamw" | "muon" | "flips";

export interface DistilRecipe extends TrainingRecipe {
  readonly surrogate: SurrogateChoice;
  /** Latents rescaled to unit mean magnitude (ours), or as the initialisation left them (papers). */
  readonly latents: "unit" | "raw";
  /**
   * Unit of the rates: a share of the mean magnitude of what they change (ours), plain learning rates (papers), or a
   * share of the Euclidean length of each vector (DBF).
   */
  readonly ratesAre: "relative" | "absolute" | "norm";
  readonly optimizer: OptimizerChoice;
  readonly loss: LossChoice;
  /** Decoupled decay of latents and scales, per unit of their rate. */
  readonly weightDecay: number;
  /** Added to the root of Adam's second moment. */
  readonly epsilon: number;
  /** Largest norm of the whole gradient, 0 = no limit. */
  readonly clip: number;
  /** Micro-batches a step. With 1 (and no clipping) a block is updated as soon as its gradients are there. */
  readonly accumulate: number;
  /** Decay of an exponential moving average of latents, scales and norms, which is then evaluated and kept; 0 = off. */
  readonly average: number;
  /** Bits of a stored moment of a latent. */
  readonly optimizerBits: 32 | 8;
  readonly schedule: "cosine" | "constant";
}

export const TRAIN_RECIPE_NAMES = ["default", "littlebit", "onebit", "dbf"] as const;
export type TrainRecipeName = (typeof TRAIN_RECIPE_NAMES)[number];

/** Keeps the division defined where no gradient has ever arrived, and changes nothing elsewhere. */
export const NO_EPSILON = 1e-20;
/** The default of every framework that the papers trained in. */
const ADAM_EPSILON = 1e-8;

/** KL alone, averaged over tokens. */
const KL_OF_TOKENS: LossChoice = { logits: 1, logitsPer: "token", hidden: 0, hiddenKind: "mse" };

/** Fields in which our stages agree. */
const OURS = {
  floor: 0,
  warmup: 0.05,
  beta2: 0.97,
  surrogate: { kind: "tanh", width: 1 },
  latents: "unit",
  ratesAre: "relative",
  optimizer: "adamw",
  loss: KL_OF_TOKENS,
  weightDecay: 0,
  epsilon: NO_EPSILON,
  clip: 0,
  accumulate: 1,
  average: 0,
  optimizerBits: 32,
  schedule: "cosine",
} as const satisfies Partial<DistilRecipe>;

/** Distillation of scales and norms alone. */
export const SCALES_RECIPE: DistilRecipe = {
  ...OURS,
  epochs: 3,
  rates: { latents: 0, scales: 0.01, norms: 0.003 },
  batch: 2,
  beta1: 0.8,
};

const RECIPES = {
  /** Best measured per second on stories-11m; see docs/compress.md. */
  default: {
    ...OURS,
    epochs: 4,
    rates: { latents: 0.025, scales: 0.01, norms: 0.003 },
    batch: 1,
    beta1: 0.6,
  },
  littlebit: {
    ...OURS,
    epochs: 5,
    rates: { latents: 4e-5, scales: 4e-5, norms: 4e-5 },
    batch: 4,
    warmup: 0.02,
    beta1: 0.9,
    beta2: 0.999,
    surrogate: { kind: "tanh", width: 100 },
    latents: "raw",
    ratesAre: "absolute",
    loss: { logits: 1, logitsPer: "window", hidden: 10, hiddenKind: "mse" },
    epsilon: ADAM_EPSILON,
    clip: 1,
  },
  onebit: {
    ...OURS,
    epochs: 50,
    rates: { latents: 4e-4, scales: 4e-4, norms: 0 },
    batch: 4,
    // Its 500 of some 50,000 steps.
    warmup: 0.01,
    beta1: 0.9,
    beta2: 0.98,
    surrogate: { kind: "onebit" },
    latents: "raw",
    ratesAre: "absolute",
    loss: { logits: 0.01, logitsPer: "window", hidden: 1, hiddenKind: "normalised" },
    weightDecay: 0.01,
    epsilon: ADAM_EPSILON,
    clip: 1,
  },
  /** The rate of the scales is what `flips` scales to the length of the run; signs have none (see optimise/flips.ts). */
  dbf: {
    ...OURS,
    epochs: 1,
    rates: { latents: 1, scales: 1e-5, norms: 0 },
    batch: 16,
    warmup: 0,
    beta1: 0.9,
    beta2: 0.95,
    ratesAre: "norm",
    optimizer: "flips",
    weightDecay: 1e-4,
    epsilon: ADAM_EPSILON,
    schedule: "constant",
  },
} as const satisfies Record<TrainRecipeName, DistilRecipe>;

/** A recipe by name, with some of its values replaced. */
export function trainRecipe(name: TrainRecipeName, overrides: Partial<DistilRecipe> = {}): DistilRecipe {
  return { ...RECIPES[name], ...overrides };
}
