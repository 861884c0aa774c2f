/** Chooses how to run: WebAssembly on worker threads where it can, less where it must, and says why. */
import { SubbitError } from "@subbit/core";
import { MAX_THREADS } from "../abi.js";
import { compileKernels } from "../wasm/compile.js";
import { isNode, probeWasm } from "../wasm/probes.js";
import { inlineExecutor, twinExecutor } from "./inline.js";
import type { Capabilities, Executor, Team } from "./types.js";
import { workerExecutor } from "./workers.js";
import type { SpawnThread } from "./worker-source.js";

/**
 * - `auto`, `cpu`: WebAssembly SIMD kernels
 * - `reference`: their plain TypeScript twins, some hundred times slower; for checks
 */
export type RuntimeDevice = "auto" | "cpu" | "reference";

/** More threads than this are not tried: models of this kind do not gain from them. */
const MOST_MEASURED = 8;

export interface ExecutionPlan {
  readonly capabilities: Capabilities;
  /** Whether the memory must be shared. */
  readonly shared: boolean;
  /** How many threads are best is not known: up to `capabilities.threads` may be tried. */
  readonly measure: boolean;
  /** @param threads at most those of the capabilities */
  open(memory: WebAssembly.Memory, threads: number): Executor | Team;
}

export async function planExecution(
  device: RuntimeDevice,
  threads: number | undefined,
): Promise<ExecutionPlan> {
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS)) {
    throw new SubbitError(
      "usage",
      `threads = ${threads} was asked, but it must be a whole number from 1 to ${MAX_THREADS}.`,
    );
  }
  const features = await probeWasm();
  if (device === "reference") return planReference(features.relaxedSimd);
  if (!features.simd) {
    throw new SubbitError(
      "resources",
      "This engine has no WebAssembly SIMD, which the runtime needs; use Node 20, Chrome 91, Firefox 89, Safari 16.4 or newer.",
    );
  }
  const simd = features.relaxedSimd ? "relaxed" : "baseline";
  const why = [features.relaxedSimd ? "relaxed SIMD found" : "this engine has no relaxed SIMD"];
  if (!features.threads) {
    why.push(
      "one thread, on the caller's own: shared memory is not available (a page must be cross-origin isolated: COOP and COEP headers)",
    );
    const module = await compileKernels(simd, false);
    return {
      capabilities: { device: "cpu", threads: 1, simd, why: why.join("; ") },
      shared: false,
      measure: false,
      open: (memory) => inlineExecutor(module, memory),
    };
  }
  const { spawn, cpus, turn } = await platform();
  const count = threads ?? Math.max(1, Math.min(cpus, MOST_MEASURED));
  if (threads !== undefined) why.push("as many threads as asked");
  else if (cpus === 1) why.push("one logical processor");
  const module = await compileKernels(simd, true);
  return {
    capabilities: { device: "cpu", threads: count, simd, why: why.join("; ") },
    shared: true,
    measure: threads === undefined && count > 1,
    open: (memory, size) => workerExecutor(spawn, module, memory, { threads: size, cpus, turn }),
  };
}

/** Begins to compile what `planExecution` will ask for; what goes wrong is heard there. */
export function prepareKernels(): void {
  const compile = async (): Promise<void> => {
    const { simd, relaxedSimd, threads } = await probeWasm();
    if (simd) await compileKernels(relaxedSimd ? "relaxed" : "baseline", threads);
  };
  compile().catch(() => undefined);
}

/** The twins round as the kernels of this engine do. */
function planReference(fused: boolean): ExecutionPlan {
  return {
    capabilities: {
      device: "reference",
      threads: 1,
      simd: "none",
      why: "the plain TypeScript reference was asked for",
    },
    shared: false,
    measure: false,
    open: (memory) => twinExecutor(memory, fused),
  };
}

async function platform(): Promise<{ spawn: SpawnThread; cpus: number; turn?: () => Promise<void> }> {
  if (isNode()) {
    const { spawnNodeThread, cpuCount, turnEventLoop } = await import("../node/spawn-thread.js");
    return { spawn: spawnNodeThread, cpus: cpuCount(), turn: turnEventLoop };
  }
  const { spawnBrowserThread } = await import("./spawn-browser.js");
  return { spawn: spawnBrowserThread, cpus: navigator.hardwareConcurrency };
}
