// Kernels of the subbit runtime. The host calls `dispatch` on thread 0 and parks the other threads in `serve`.
export { dispatch, serve } from "./threads";
// For tests: the share of any one thread.
export { runProgram } from "./interpreter";
// Exported so that the optimiser keeps them functions of their own: inlined into the row loop, their accumulators spill.
export { signBlock12 } from "./sign-lut12";
export { signBlock16 } from "./sign-lut16";
export { signBlock8 } from "./sign-lut8";
export { tile1x8, tile4x2 } from "./products";
export { integerTile1x8, integerTile3x2, integerTile4x2 } from "./integer-products";
export { weigh, roundWeights } from "./attend";
