/** Executors on the calling thread: WebAssembly where no thread can be had, and the plain TypeScript twins. */
import { runTwins } from "../twins/interpreter.js";
import { viewMemory } from "../twins/memory.js";
import { instantiateKernels } from "../wasm/compile.js";
import type { Executor } from "./types.js";

/** The promise comes after a turn of the event loop's microtasks only: a page should prefer workers. */
export function inlineExecutor(module: WebAssembly.Module, memory: WebAssembly.Memory): Executor {
  const kernels = instantiateKernels(module, memory);
  return {
    run: (start, end) => settle(() => kernels.dispatch(start, end)),
    dispose: () => Promise.resolve(),
  };
}

export function twinExecutor(memory: WebAssembly.Memory): Executor {
  const views = viewMemory(memory.buffer);
  return {
    run: (start, end) => settle(() => runTwins(views, start, end)),
    dispose: () => Promise.resolve(),
  };
}

/** Lets timers and aborts in between tiles: without it a long text would block the event loop from start to end. */
async function settle(work: () => void): Promise<void> {
  await new Promise<void>((resolve) => setTimeout(resolve, 0));
  work();
}
