/** The named choices that options, plans and recipes are made of. */

/**
 * The published formats: DBF and NanoQuant (one path of two sign factors), LittleBit (two paths by default), MDBF
 * (envelopes of rank l), OneBit (a full-rank sign matrix with a LayerNorm behind it).
 */
export const METHOD_NAMES = ["dbf", "nanoquant", "littlebit", "mdbf", "onebit"] as const;
export type Method = (typeof METHOD_NAMES)[number];
/** How a factorisation starts; which of them a method knows stands in factorise/methods/. */
export const INIT_NAMES = ["admm", "dual-svid", "itq", "closed-form", "svd", "nmf", "copy"] as const;
export type Init = (typeof INIT_NAMES)[number];
/**
 * How much is trained after the factorisation: nothing; block by block; + whole-model distillation of scales and norms;
 * or whole-model distillation of everything (signs too, by straight-through latents).
 */
export type TuneLevel = "none" | "blocks" | "scales" | "full";
/** Bits a stored value of the embedding or the head: 16 = f16, 8, 4 and 2 = integers with a scale a row. */
export type EmbedBits = 16 | 8 | 4 | 2;
/** How embedding and head are stored: rows of integers or halves, or factored like a linear. */
export type EmbedMethod = "rows" | "factored";
/** How ranks are shared out: all linears at the same bits per weight, or where a rank lowers the loss most. */
export type Allocation = "uniform" | "loss";
/** Whose arithmetic sizes the ranks: every stored bit, or the method's published formula. */
export type BitsFormula = "honest" | "paper";

/** `demo` is the short budget of `subbit demo`: a few minutes on two cores for a model of ten million weights. */
export type Preset = "default" | "demo";

export { TRAIN_RECIPE_NAMES, type TrainRecipeName } from "./train-recipe.js";
