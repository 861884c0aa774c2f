export * from "./choices.js";
export * from "./options.js";
export * from "./recipe.js";
export * from "./plan/plan.js";
export * from "./factorise/index.js";
export { compress, DEFAULT_MEMORY_LIMIT, DEFAULT_SAMPLES, DEFAULT_SEQLEN } from "./compress.js";
export { DEFAULT_BPW, factorisation, planModel } from "./plan/plan-model.js";
export { parsePlanFile, type PlanFile, planToFile } from "./plan/plan-file.js";
export { AUTO, METHODS } from "./plan/methods.js";
