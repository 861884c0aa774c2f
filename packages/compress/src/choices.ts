/** The named choices that options, plans and recipes are made of. */

/** A published factorisation: DBF and NanoQuant by ADMM, LittleBit by Dual-SVID with a residual path. */
export type Method = "dbf" | "nanoquant" | "littlebit";
/** How a factorisation starts. */
export type Init = "admm" | "dual-svid";
/**
 * How much is trained after the factorisation: nothing; block by block; + whole-model distillation of scales and norms;
 * or whole-model distillation of everything (signs too, by straight-through latents).
 */
export type TuneLevel = "none" | "blocks" | "scales" | "full";
/** Bits a stored value of the embedding or the head: 16 = f16, 8 and 4 = integers with a scale a row. */
export type EmbedBits = 16 | 8 | 4;
/** Whose arithmetic sizes the ranks: every stored bit, or the method's published formula. */
export type BitsFormula = "honest" | "paper";

/** `demo` is the short budget of `subbit demo`: a few minutes on two cores for a model of ten million weights. */
export type Preset = "default" | "demo";
