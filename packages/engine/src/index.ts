/** Tensor graphs with reverse-mode differentiation, compiled to ONNX Runtime. */
export { Graph, type Value } from "./graph/graph.js";
export type { DType, HostArray, ValueType } from "./graph/types.js";
export { gradients, type Seed } from "./graph/gradients.js";
export * as ops from "./ops/index.js";
export type { Surrogate } from "./ops/signs.js";
export * from "./program.js";
export * from "./blocks/index.js";
export * from "./optim/index.js";
