// Kernels of the subbit runtime. The host calls `dispatch` on thread 0 and parks the other threads in `serve`.
export { dispatch, serve } from "./threads";
// Exported so that the optimiser keeps it a function of its own: inlined into the row loop, its accumulators spill.
export { signBlock } from "./sign-product";
