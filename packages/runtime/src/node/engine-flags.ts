/** V8 flags, on Node only. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Node 20 has relaxed SIMD behind a flag, which takes effect for modules compiled after it is set. */
export function enableRelaxedSimd(): void {
  try {
    setFlagsFromString("--experimental-wasm-relaxed-simd");
  } catch {
    // An engine that does not know the flag just has no relaxed SIMD; the baseline kernels run.
  }
}

let collector: (() => void) | undefined;

/**
 * Collects garbage now. A disposed model leaves one object of some hundred bytes, the WebAssembly memory, and behind it all its
 * weights, of which the collector knows nothing: it would let many of them pile up before it finds a reason to look.
 */
export function collectGarbage(): void {
  try {
    collector ??= exposeCollector();
    collector();
  } catch {
    // The engine finds the time by itself, later.
  }
}

/** The flag shows in contexts that are made while it is set. */
function exposeCollector(): () => void {
  const { gc } = globalThis;
  if (typeof gc === "function") return () => void gc();
  setFlagsFromString("--expose-gc");
  try {
    return runInNewContext("gc") as () => void;
  } finally {
    setFlagsFromString("--no-expose-gc");
  }
}
