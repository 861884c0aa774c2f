export * from "./choices.js";
export * from "./options.js";
export * from "./recipe.js";
export * from "./train-recipe.js";
export type { DistilOptions, DistilResult, Evaluation, StepReport } from "./distil/types.js";
export * from "./plan/plan.js";
export * from "./factorise/index.js";
export { compress } from "./compress.js";
export { allocatesByLoss, planCompression } from "./run/calibrated-plan.js";
export { DEFAULT_MEMORY_LIMIT, DEFAULT_SAMPLES, DEFAULT_SEQLEN } from "./run/open-run.js";
export { parseForms } from "./plan/allocation/forms.js";
export { DEFAULT_BPW, planModel } from "./plan/plan-model.js";
export { parsePlanFile, type PlanFile, planToFile } from "./plan/plan-file.js";
export { AUTO } from "./plan/methods.js";
export {
  MAX_MIX_TOKENS,
  mixWindows,
  type MixedPart,
  type MixedWindows,
  type MixOptions,
  type MixPart,
} from "./data/mix-windows.js";
export type { Windows } from "./calibrate/windows.js";
export { checkModels as checkTrainModels } from "./train/check-models.js";
export * from "./train/options.js";
export { train } from "./train/train.js";
