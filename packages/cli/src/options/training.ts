/** Hyperparameters of whole-model training: flags that `train` and `compress --tune full` share. */
import { SubbitError } from "@subbit/core";
import type { DistilRecipe, TrainRecipeName } from "@subbit/compress";
import { TRAIN_RECIPE_NAMES } from "@subbit/compress/choices";
import { Option, type Command } from "commander";
import { integer, number, oneOf } from "./parse.js";

export interface TrainingOptions {
  readonly recipe?: TrainRecipeName;
  readonly lrLatents?: number;
  readonly lrScales?: number;
  readonly lrNorms?: number;
  readonly batch?: number;
  readonly accumulate?: number;
  readonly warmup?: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly weightDecay?: number;
  readonly clip?: number;
  readonly surrogate?: DistilRecipe["surrogate"]["kind"];
  readonly surrogateWidth?: number;
  readonly optimizer?: DistilRecipe["optimizer"];
  readonly optimizerBits?: DistilRecipe["optimizerBits"];
  readonly logitsLoss?: number;
  readonly hiddenLoss?: number;
  readonly hiddenKind?: DistilRecipe["loss"]["hiddenKind"];
  readonly average?: number;
  readonly rateSchedule?: DistilRecipe["schedule"];
}

/** Every flag but --recipe, by the name that it has in the options. */
const HYPERPARAMETERS = [
  "lrLatents",
  "lrScales",
  "lrNorms",
  "batch",
  "accumulate",
  "warmup",
  "beta1",
  "beta2",
  "weightDecay",
  "clip",
  "surrogate",
  "surrogateWidth",
  "optimizer",
  "optimizerBits",
  "logitsLoss",
  "hiddenLoss",
  "hiddenKind",
  "average",
  "rateSchedule",
] as const satisfies readonly (keyof TrainingOptions)[];

const rate = number({ min: 0, max: 1e6 });
/** Below 1: a decay that forgets nothing would never move. */
const decay = (text: string): number => number({ min: 0, max: 0.999_999_999 })(text);
const weight = number({ min: 0, max: 1e9 });

export function addTrainingOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--recipe <name>",
        "hyperparameters of whole-model training: default, the best measured, or a paper's own",
      ).choices(TRAIN_RECIPE_NAMES),
    )
    .option("--lr-latents <x>", "rate of the signs' latents, in the recipe's unit; 0 keeps signs", rate)
    .option("--lr-scales <x>", "rate of the scales; 0 keeps them", rate)
    .option("--lr-norms <x>", "rate of the norms; 0 keeps them", rate)
    .option("--batch <n>", "windows a step", integer({ min: 1, max: 65_536 }))
    .option("--accumulate <n>", "batches whose gradients make one step", integer({ min: 1, max: 65_536 }))
    .option("--warmup <x>", "share of the steps with a rising rate", number({ min: 0, max: 1 }))
    .option("--beta1 <x>", "decay of the mean gradient", decay)
    .option("--beta2 <x>", "decay of the mean squared gradient", decay)
    .option("--weight-decay <x>", "decoupled decay, per unit of the rate", weight)
    .option("--clip <x>", "largest norm of the whole gradient; 0 is none", weight)
    .addOption(
      new Option(
        "--surrogate <kind>",
        "stands for the derivative of the sign: tanh, clipped (straight through within 1), onebit",
      ).choices(["tanh", "clipped", "onebit"]),
    )
    .option(
      "--surrogate-width <k>",
      "slope of the tanh surrogate k (1 - tanh^2(k x))",
      number({ above: 0, max: 1e6 }),
    )
    .addOption(new Option("--optimizer <name>", "how latents move").choices(["adamw", "muon", "flips"]))
    .addOption(
      new Option("--optimizer-bits <bits>", "bits of a stored moment of a latent, 32 or 8").argParser(
        oneOf([32, 8] as const),
      ),
    )
    .option("--logits-loss <x>", "weight of KL(teacher||student) of the next token", weight)
    .option("--hidden-loss <x>", "weight of the hidden-state loss; 0 leaves it out", weight)
    .addOption(
      new Option(
        "--hidden-kind <kind>",
        "hidden-state loss: mse of block outputs (LittleBit), or of directions of block inputs (normalised, OneBit)",
      ).choices(["mse", "normalised"]),
    )
    .option("--average <x>", "decay of a moving average that is evaluated and kept; 0 is none", decay)
    .addOption(
      new Option("--rate-schedule <name>", "of the rate after the warm-up").choices(["cosine", "constant"]),
    );
}

/** The name of the first training flag that was given, if any. */
export function trainingFlag(options: TrainingOptions): string | undefined {
  const given = (["recipe", ...HYPERPARAMETERS] as const).find((name) => options[name] !== undefined);
  return given && `--${given.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** The named recipe with what the flags change. Throws `usage` for flags that do not go together. */
export async function trainingRecipe(
  options: TrainingOptions,
): Promise<{ readonly name: TrainRecipeName; readonly recipe: DistilRecipe }> {
  const { trainRecipe } = await import("@subbit/compress");
  const name = options.recipe ?? "default";
  const base = trainRecipe(name);
  const { lrLatents, lrScales, lrNorms, logitsLoss, hiddenLoss, hiddenKind } = options;
  const { batch, accumulate, warmup, beta1, beta2, weightDecay, clip } = options;
  const { optimizer, optimizerBits, average, rateSchedule: schedule } = options;
  const recipe = trainRecipe(name, {
    rates: {
      latents: lrLatents ?? base.rates.latents,
      scales: lrScales ?? base.rates.scales,
      norms: lrNorms ?? base.rates.norms,
    },
    loss: {
      ...base.loss,
      logits: logitsLoss ?? base.loss.logits,
      hidden: hiddenLoss ?? base.loss.hidden,
      hiddenKind: hiddenKind ?? base.loss.hiddenKind,
    },
    surrogate: surrogateOf(options, base.surrogate),
    ...defined({ batch, accumulate, warmup, beta1, beta2, weightDecay, clip }),
    ...defined({ optimizer, optimizerBits, average, schedule }),
  });
  if (recipe.loss.logits === 0 && recipe.loss.hidden === 0) {
    throw new SubbitError("usage", "Both losses have the weight 0; give --logits-loss or --hidden-loss.");
  }
  if (Object.values(recipe.rates).every((value) => value === 0)) {
    throw new SubbitError("usage", "All rates are 0, so nothing would train; give one of the --lr flags.");
  }
  return { name, recipe };
}

function surrogateOf(
  { surrogate, surrogateWidth }: TrainingOptions,
  base: DistilRecipe["surrogate"],
): DistilRecipe["surrogate"] {
  const kind = surrogate ?? base.kind;
  if (kind === "tanh") {
    const own = base.kind === "tanh" ? base.width : 1;
    return { kind, width: surrogateWidth ?? own };
  }
  if (surrogateWidth !== undefined) {
    throw new SubbitError(
      "usage",
      `--surrogate-width is of the tanh surrogate, not of ${kind}; leave it out.`,
    );
  }
  return { kind };
}

/** Without the members that are undefined. */
function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
