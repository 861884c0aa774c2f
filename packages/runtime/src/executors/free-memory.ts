/** Gives the memory of a model back once nothing names it any more. */
import { isNode } from "../wasm/probes.js";

/** Browsers find the time by themselves: a page cannot ask for it. */
export async function freeMemory(): Promise<void> {
  if (!isNode()) return;
  const { collectGarbage } = await import("../node/engine-flags.js");
  collectGarbage();
}
