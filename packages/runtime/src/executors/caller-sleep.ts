/** How the calling thread waits for others: it cannot hear messages meanwhile, so it looks for signs of their death. */
import { CTRL_END, CTRL_FAILED } from "../abi.js";
import type { Sleep } from "../wasm/compile.js";

const CHECK_MS = 100;
/** Waits in vain before the others are given up: one of them may have died without a word. */
const MOST_CHECKS = 600;

/** `undefined` where the calling thread may not wait, as that of a page. */
export function callerSleep(memory: WebAssembly.Memory): Sleep | undefined {
  const words = new Int32Array(memory.buffer, 0, CTRL_END >>> 2);
  const failed = CTRL_FAILED >>> 2;
  try {
    // Returns at once, because the word is not -1, or throws.
    Atomics.wait(words, failed, -1, 0);
  } catch {
    return undefined;
  }
  return (address, value) => {
    for (let checks = 0; checks < MOST_CHECKS; checks++) {
      if (Atomics.load(words, failed) !== 0) throw new Error("another thread failed");
      if (Atomics.wait(words, address >>> 2, value, CHECK_MS) !== "timed-out") return;
    }
    throw new Error("another thread does not answer");
  };
}
