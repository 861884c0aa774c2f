export * from "./scorer.js";
export * from "./distribution.js";
export * from "./perplexity.js";
export * from "./tasks/index.js";
