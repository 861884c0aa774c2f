/** The kernel module that fits this engine, compiled once per process. */
import { baselineLocal, baselineShared, relaxedLocal, relaxedShared } from "../generated/kernels.js";

export type SimdLevel = "baseline" | "relaxed";

/** What the kernel module exports. */
export interface KernelExports {
  /** Thread 0: runs the instructions in [start, end), byte addresses, together with the serving threads. */
  dispatch(start: number, end: number): void;
  /** Threads 1 and up: serves dispatches until told to quit. */
  serve(thread: number): void;
  /** What one of `threads` threads does of instructions that need no barrier among them. */
  runProgram(start: number, end: number, thread: number, threads: number): void;
}

const SOURCES = {
  baseline: { shared: baselineShared, local: baselineLocal },
  relaxed: { shared: relaxedShared, local: relaxedLocal },
} as const;

const compiled = new Map<string, Promise<WebAssembly.Module>>();

export function compileKernels(simd: SimdLevel, shared: boolean): Promise<WebAssembly.Module> {
  const kind = shared ? "shared" : "local";
  const key = `${simd} ${kind}`;
  let module = compiled.get(key);
  if (module === undefined) {
    module = WebAssembly.compile(decodeBase64(SOURCES[simd][kind]));
    compiled.set(key, module);
  }
  return module;
}

/** Waits until the word at a byte address may have stopped being `value`. */
export type Sleep = (address: number, value: number) => void;

const neverSleeps: Sleep = () => {
  throw new RangeError("A single thread has nobody to wait for.");
};

/**
 * For the calling thread; worker threads instantiate for themselves (executors/worker-source.ts).
 *
 * @param sleep for a thread that works with others @default one that throws
 */
export function instantiateKernels(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  sleep: Sleep = neverSleeps,
): KernelExports {
  return new WebAssembly.Instance(module, { env: { memory, sleep } }).exports as unknown as KernelExports;
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
