/** V8 flags, on Node only. */
import { setFlagsFromString } from "node:v8";

/** Node 20 has relaxed SIMD behind a flag, which takes effect for modules compiled after it is set. */
export function enableRelaxedSimd(): void {
  try {
    setFlagsFromString("--experimental-wasm-relaxed-simd");
  } catch {
    // An engine that does not know the flag just has no relaxed SIMD; the baseline kernels run.
  }
}
