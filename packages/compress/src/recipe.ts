/**
 * Recipes: every hyperparameter of the pipeline in one plain object, so that it can stand in the manifest and in the
 * ledger's keys. The defaults are the best measured per second on stories-11m (see docs/compress.md).
 */
import type { Preset } from "./choices.js";
import type { Schedule } from "./factorise/types.js";
import { type DistilRecipe, SCALES_RECIPE, trainRecipe, type TrainingRecipe } from "./train-recipe.js";

export interface BlockRecipe extends TrainingRecipe {
  /** Calibration windows used, at most. */
  readonly windows: number;
  /** Passes that tune the still dense weights before each group is factorised. */
  readonly denseEpochs: number;
  /** Fraction of each dense matrix's mean magnitude. */
  readonly denseRate: number;
  /** Whether blocks are tuned before a full distillation too (always before one of scales only). */
  readonly beforeFull: boolean;
}

export interface Recipe {
  readonly calibrate: {
    /** Calibration windows that the moments are taken over, at most. */
    readonly windows: number;
  };
  readonly factorise: {
    /** Outer iterations. @default the method's own */
    readonly iterations?: number;
    /** How far importance is drawn to its mean (NanoQuant's gamma). */
    readonly shrinkage: number;
    /** Whether outputs are weighted by their gradients, beside inputs by their size. */
    readonly outputImportance: boolean;
    /**
     * Metric of the inputs: their mean squares, or all their products E[x x^T] (memory: cols * cols a linear, so only up to
     * LARGEST_GRAM inputs), where a method can use them.
     */
    readonly gram: "diagonal" | "full";
  };
  readonly allocate: {
    /** Outer iterations of the short factorisations that measure error curves. */
    readonly iterations: number;
  };
  readonly blocks: BlockRecipe;
  /** Whole-model distillation of scales and norms. */
  readonly scales: DistilRecipe;
  /** Whole-model distillation of latents, scales and norms. */
  readonly full: DistilRecipe;
}

/** A partial recipe, group by group. */
export interface RecipeOverrides {
  readonly calibrate?: Partial<Recipe["calibrate"]>;
  readonly factorise?: Partial<Recipe["factorise"]>;
  readonly allocate?: Partial<Recipe["allocate"]>;
  readonly blocks?: Partial<BlockRecipe>;
  readonly scales?: Partial<DistilRecipe>;
  readonly full?: Partial<DistilRecipe>;
}

const DEFAULT: Recipe = {
  calibrate: { windows: 32 },
  factorise: { iterations: 200, shrinkage: 0.2, outputImportance: true, gram: "full" },
  // The order of the curves is settled after a few dozen iterations, whatever their level.
  allocate: { iterations: 24 },
  blocks: {
    windows: 128,
    denseEpochs: 1,
    denseRate: 0.005,
    beforeFull: false,
    epochs: 2,
    rates: { latents: 0.02, scales: 0.005, norms: 0.002 },
    batch: 2,
    warmup: 0.05,
    beta1: 0.8,
    beta2: 0.97,
    floor: 0,
  },
  scales: SCALES_RECIPE,
  full: trainRecipe("default"),
};

const PRESETS = {
  default: DEFAULT,
  demo: {
    ...DEFAULT,
    calibrate: { windows: 16 },
    factorise: { ...DEFAULT.factorise, iterations: 100 },
    full: { ...DEFAULT.full, epochs: 4 },
  },
} satisfies Record<Preset, Recipe>;

/**
 * The recipe of a preset with some of its values replaced. An official schedule brings its own number of iterations, so
 * the preset's does not apply to it, and the metric that its code has.
 */
export function recipeOf(
  preset: Preset,
  overrides: RecipeOverrides = {},
  schedule: Schedule = "tuned",
): Recipe {
  const base: Recipe = PRESETS[preset];
  const { iterations, ...ours } = base.factorise;
  // The papers' codes weigh by mean squares.
  const factorise: typeof ours = schedule === "official" ? { ...ours, gram: "diagonal" } : ours;
  return {
    calibrate: { ...base.calibrate, ...overrides.calibrate },
    factorise: {
      ...factorise,
      ...(schedule === "tuned" && iterations !== undefined && { iterations }),
      ...overrides.factorise,
    },
    allocate: { ...base.allocate, ...overrides.allocate },
    blocks: { ...base.blocks, ...overrides.blocks },
    scales: { ...base.scales, ...overrides.scales },
    full: { ...base.full, ...overrides.full },
  };
}
