/**
 * Factorisations side by side: a program of the engine computes on the thread that calls it, so two linears at a time
 * take two worker threads. A matrix gives the same result whichever thread it meets.
 */
import { Worker } from "node:worker_threads";
import { SubbitError } from "@subbit/core";
import type { FactorisedLinear, FactoriseOptions } from "../factorise/types.js";
import { ownBuffers } from "./transfer.js";

export interface FactoriseJob {
  /** [rows, cols]; given away: it moves to the thread and is empty here afterwards, unless its buffer holds more. */
  readonly weight: Float32Array;
  readonly rows: number;
  readonly cols: number;
  /** Without signal and onProgress: they cannot cross threads. */
  readonly options: Omit<FactoriseOptions, "signal" | "onProgress">;
}

export type FactoriseReply = { readonly result: FactorisedLinear } | { readonly error: unknown };

interface Waiting {
  readonly job: FactoriseJob;
  readonly resolve: (result: FactorisedLinear) => void;
  readonly reject: (error: unknown) => void;
}

export class FactorisePool {
  readonly #idle: Worker[] = [];
  readonly #busy = new Map<Worker, Waiting>();
  readonly #queue: Waiting[] = [];
  readonly #size: number;
  #closed = false;

  /**
   * @param size threads; they start when first needed
   * @param signal stops the threads in the middle of their work
   */
  constructor(size: number, signal?: AbortSignal) {
    this.#size = size;
    signal?.addEventListener("abort", () => void this.close(), { once: true });
  }

  /** Throws `interrupted` when the pool is closed before the job is done. */
  run(job: FactoriseJob): Promise<FactorisedLinear> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(stopped());
        return;
      }
      this.#queue.push({ job, resolve, reject });
      this.#dispatch();
    });
  }

  /** Stops the threads; jobs that are under way fail as interrupted. */
  async close(): Promise<void> {
    this.#closed = true;
    const lost = [...this.#queue.splice(0), ...this.#busy.values()];
    const workers = [...this.#idle.splice(0), ...this.#busy.keys()];
    this.#busy.clear();
    for (const { reject } of lost) reject(stopped());
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      const worker = this.#idle.pop() ?? (this.#busy.size < this.#size ? this.#start() : undefined);
      if (worker === undefined) return;
      const waiting = this.#queue.shift()!;
      this.#busy.set(worker, waiting);
      // The importance is shared by other linears and stays.
      worker.postMessage(waiting.job, ownBuffers(waiting.job.weight));
    }
  }

  #start(): Worker {
    const worker = new Worker(workerUrl());
    // A pool that nobody waits for must not keep the process alive.
    worker.unref();
    worker.on("message", (reply: FactoriseReply) => {
      const waiting = this.#busy.get(worker);
      this.#busy.delete(worker);
      this.#idle.push(worker);
      if ("result" in reply) waiting?.resolve(reply.result);
      else waiting?.reject(asSubbitError(reply.error));
      this.#dispatch();
    });
    worker.on("error", (error) => {
      const waiting = this.#busy.get(worker);
      this.#busy.delete(worker);
      waiting?.reject(error);
    });
    return worker;
  }
}

function stopped(): SubbitError {
  return new SubbitError("interrupted", "The factorisation was stopped.");
}

/** Tests run the sources; a thread needs the built module. */
function workerUrl(): URL {
  const here = import.meta.url;
  const relative = here.endsWith(".ts") ? "../../dist/pipeline/factorise-worker.js" : "./factorise-worker.js";
  return new URL(relative, here);
}

/** A clone that crossed threads has lost its class. */
function asSubbitError(error: unknown): unknown {
  if (error instanceof Error && "code" in error && typeof error.code === "string") {
    return new SubbitError(error.code as SubbitError["code"], error.message, { cause: error });
  }
  return error;
}
