/**
 * Runs programs on worker threads that share the memory. The calling thread never computes: it sends thread 0 a range of
 * instructions and awaits its answer; thread 0 wakes the others through the memory.
 */
import { SubbitError } from "@subbit/core";
import { CTRL_COMMAND, CTRL_QUIT } from "../abi.js";
import type { Executor } from "./types.js";
import type { FromWorker, SpawnThread, Thread } from "./worker-source.js";

/** How long a parked thread may take to leave WebAssembly before it is terminated. */
const QUIT_GRACE_MS = 5;

export async function workerExecutor(
  spawn: SpawnThread,
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  threads: number,
): Promise<Executor> {
  const team = new Team(spawn, memory, threads);
  try {
    await team.start(module);
  } catch (error) {
    await team.dispose();
    throw error;
  }
  return team;
}

class Team implements Executor {
  #memory: WebAssembly.Memory | undefined;
  readonly #threads: Thread[] = [];
  #starting = 0;
  #disposed = false;
  #failure: SubbitError | undefined;
  #pending: { resolve: () => void; reject: (error: SubbitError) => void } | undefined;

  constructor(spawn: SpawnThread, memory: WebAssembly.Memory, threads: number) {
    this.#memory = memory;
    for (let i = 0; i < threads; i++) {
      this.#threads.push(spawn({ message: (m) => this.#hear(m), failure: (reason) => this.#fail(reason) }));
    }
  }

  async start(module: WebAssembly.Module): Promise<void> {
    this.#starting = this.#threads.length;
    const memory = this.#memory;
    if (memory === undefined) return;
    await this.#await(() => {
      this.#threads.forEach((thread, i) => thread.post({ module, memory, thread: i }));
    });
    for (const thread of this.#threads) thread.hold(false);
  }

  async run(start: number, end: number): Promise<void> {
    const lead = this.#threads[0];
    // An idle model does not keep the process alive; one at work does.
    lead.hold(true);
    try {
      await this.#await(() => lead.post({ start, end }));
    } finally {
      lead.hold(false);
    }
  }

  async dispose(): Promise<void> {
    const memory = this.#memory;
    if (this.#disposed || memory === undefined) return;
    this.#disposed = true;
    this.#memory = undefined;
    this.#settle(disposedError());
    const control = new Int32Array(memory.buffer);
    Atomics.store(control, CTRL_QUIT >>> 2, 1);
    Atomics.add(control, CTRL_COMMAND >>> 2, 1);
    Atomics.notify(control, CTRL_COMMAND >>> 2);
    await new Promise<void>((resolve) => setTimeout(resolve, QUIT_GRACE_MS));
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  #await(begin: () => void): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#disposed) return Promise.reject(disposedError());
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject };
      begin();
    });
  }

  #hear(message: FromWorker): void {
    if ("error" in message) this.#fail(message.error);
    else if ("done" in message) this.#settle();
    else if (--this.#starting === 0) this.#settle();
  }

  #fail(reason: string): void {
    if (this.#disposed || this.#failure !== undefined) return;
    this.#failure = new SubbitError(
      "internal",
      `A worker of the runtime failed (${reason}); dispose the model and load it again.`,
    );
    this.#settle(this.#failure);
  }

  #settle(error?: SubbitError): void {
    const pending = this.#pending;
    this.#pending = undefined;
    if (error === undefined) pending?.resolve();
    else pending?.reject(error);
  }
}

function disposedError(): SubbitError {
  return new SubbitError("usage", "The model was disposed while it was asked to work; load it again.");
}
