/** Hyperparameters of a compression that people turn: options of `compress`, into parts of the recipe. */
import type { RecipeOverrides } from "@subbit/compress";
import { Option, type Command } from "commander";
import { integer, number } from "./parse.js";

export interface RecipeOptions {
  readonly iterations?: number;
  readonly gram?: "diagonal" | "full";
  readonly importance?: "inputs" | "both";
  readonly shrinkage?: number;
  readonly allocateIterations?: number;
  readonly blockEpochs?: number;
  readonly denseEpochs?: number;
  readonly blocksBeforeFull?: boolean;
}

export function addRecipeOptions(command: Command): Command {
  return command
    .option(
      "--iterations <n>",
      "outer iterations of a factorisation (default: the preset's; with --schedule official the paper's)",
      integer({ min: 1, max: 1_000_000 }),
    )
    .addOption(
      new Option(
        "--gram <metric>",
        "what errors are measured by: all products of the inputs (full; default but for --schedule official) or their mean squares (diagonal)",
      ).choices(["diagonal", "full"]),
    )
    .addOption(
      new Option(
        "--importance <what>",
        "weigh errors by the size of the inputs, or by that and the gradients of the outputs (both, default)",
      ).choices(["inputs", "both"]),
    )
    .option(
      "--shrinkage <x>",
      "how far importance is drawn to its mean (default: 0.2)",
      number({ min: 0, max: 1 }),
    )
    .option(
      "--allocate-iterations <n>",
      "iterations of the short factorisations that --allocate loss measures by (default: 24)",
      integer({ min: 1, max: 1_000_000 }),
    )
    .option(
      "--block-epochs <n>",
      "passes that tune a factorised block (default: the preset's)",
      integer({ min: 0, max: 10_000 }),
    )
    .option(
      "--dense-epochs <n>",
      "passes that tune the dense weights left, before each group is factorised (default: the preset's)",
      integer({ min: 0, max: 10_000 }),
    )
    .option("--blocks-before-full", "tune blocks before --tune full, too");
}

export function recipeOverrides(options: RecipeOptions): RecipeOverrides {
  const { iterations, gram, importance, shrinkage, allocateIterations } = options;
  const { blockEpochs, denseEpochs, blocksBeforeFull } = options;
  return {
    factorise: {
      ...(iterations !== undefined && { iterations }),
      ...(gram !== undefined && { gram }),
      ...(importance !== undefined && { outputImportance: importance === "both" }),
      ...(shrinkage !== undefined && { shrinkage }),
    },
    ...(allocateIterations !== undefined && { allocate: { iterations: allocateIterations } }),
    blocks: {
      ...(blockEpochs !== undefined && { epochs: blockEpochs }),
      ...(denseEpochs !== undefined && { denseEpochs }),
      ...(blocksBeforeFull === true && { beforeFull: true }),
    },
  };
}
