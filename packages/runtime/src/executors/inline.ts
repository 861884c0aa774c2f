/** Executors on the calling thread: WebAssembly where no thread can be had, and the plain TypeScript twins. */
import { CTRL_THREADS } from "../abi.js";
import { runTwins } from "../twins/interpreter.js";
import { viewMemory } from "../twins/memory.js";
import { instantiateKernels } from "../wasm/compile.js";
import type { Executor } from "./types.js";

/** Computes on the caller's thread, which a page feels: workers are better wherever they can be had. */
export function inlineExecutor(module: WebAssembly.Module, memory: WebAssembly.Memory): Executor {
  const kernels = instantiateKernels(module, memory);
  new Uint32Array(memory.buffer)[CTRL_THREADS >>> 2] = 1;
  return {
    run: (start, end) => settle(() => kernels.dispatch(start, end)),
    dispose: () => Promise.resolve(),
  };
}

/** @param fused whether multiply-adds round once, as the kernels' do with relaxed SIMD */
export function twinExecutor(memory: WebAssembly.Memory, fused: boolean): Executor {
  const views = viewMemory(memory.buffer, fused);
  return {
    run: (start, end) => settle(() => runTwins(views, start, end)),
    dispose: () => Promise.resolve(),
  };
}

/** Work between two turns of the event loop. */
const TURN_MS = 30;
let lastTurn = 0;

/** Lets timers, drawing and aborts in from time to time: a long text would block the event loop from start to end. */
async function settle(work: () => void): Promise<void> {
  if (performance.now() - lastTurn > TURN_MS) {
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    lastTurn = performance.now();
  }
  work();
}
