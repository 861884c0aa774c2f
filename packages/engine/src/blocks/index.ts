/** Programs over the parts of a model. */
export * from "./forms.js";
export * from "./feeds.js";
export * from "./graph-ops.js";
export * from "./block-program.js";
export * from "./block-programs.js";
export * from "./head-program.js";
export * from "./head-runner.js";
export { finalNormProgram } from "./final-norm.js";
export * from "./load.js";
export * from "./model-forward.js";
