export * from "./scorer.js";
export * from "./distribution.js";
export * from "./perplexity.js";
