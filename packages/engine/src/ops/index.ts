/** Every op, under one name each. */
export * from "./elementwise.js";
export { expand, reduceSum, reshape, unbroadcast, type ReduceOptions } from "./broadcast.js";
export * from "./reduce.js";
export * from "./shape.js";
export * from "./matrix.js";
export * from "./integer.js";
export * from "./fused.js";
export * from "./softmax.js";
export * from "./activations.js";
export * from "./norms.js";
export * from "./attention.js";
export * from "./signs.js";
export * from "./losses.js";
export * from "./loop.js";
