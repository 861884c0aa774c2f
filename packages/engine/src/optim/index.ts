/** Optimizers and what goes with them, on the host. */
export * from "./adamw.js";
export * from "./muon.js";
export * from "./schedules.js";
export * from "./clipping.js";
export * from "./latents.js";
