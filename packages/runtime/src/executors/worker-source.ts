/**
 * The program of a worker thread, as text: it starts the same from Node and from a browser, needs no file beside the bundle,
 * and runs from sources under test. Thread 0 answers messages; the others stay inside WebAssembly, asleep between dispatches.
 */
import { CTRL_BARRIER_GENERATION, CTRL_FAILED } from "../abi.js";

export const WORKER_SOURCE = `"use strict";
const inNode = typeof require === "function";
const port = inNode ? require("node:worker_threads").parentPort : self;
let kernels, words;
function handle(message) {
  try {
    if (message.module) {
      const { memory } = message;
      words = new Int32Array(memory.buffer);
      const sleep = (address, value) => void Atomics.wait(words, address >>> 2, value);
      kernels = new WebAssembly.Instance(message.module, { env: { memory, sleep } }).exports;
      port.postMessage({ ready: true });
      if (message.thread > 0) kernels.serve(message.thread);
    } else {
      kernels.dispatch(message.start, message.end);
      port.postMessage({ done: true });
    }
  } catch (error) {
    port.postMessage({ error: String((error && error.stack) || error) });
    if (words) {
      Atomics.store(words, ${CTRL_FAILED >>> 2}, 1);
      Atomics.notify(words, ${CTRL_BARRIER_GENERATION >>> 2});
    }
  }
}
if (inNode) port.on("message", handle);
else port.onmessage = (event) => handle(event.data);
`;

export type ToWorker =
  | { readonly module: WebAssembly.Module; readonly memory: WebAssembly.Memory; readonly thread: number }
  | { readonly start: number; readonly end: number };

export type FromWorker = { readonly ready: true } | { readonly done: true } | { readonly error: string };

/** A worker thread of either platform. */
export interface Thread {
  post(message: ToWorker): void;
  /** Whether the process must stay alive for it; nothing in a browser. */
  hold(alive: boolean): void;
  terminate(): Promise<void>;
}

export interface ThreadEvents {
  message(message: FromWorker): void;
  /** The thread died. */
  failure(reason: string): void;
}

export type SpawnThread = (events: ThreadEvents) => Thread;
