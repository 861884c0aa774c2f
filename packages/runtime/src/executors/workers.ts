/**
 * Runs programs on threads that share the memory. Serving threads (1 and up) are workers that wait inside WebAssembly. Thread 0
 * is either the calling thread, for work so short that handing it over would cost more than it blocks, or a worker of its own,
 * which is started when it is first needed.
 */
import { SubbitError } from "@subbit/core";
import { BOX_COMMAND, BOX_QUIT, CTRL_END, CTRL_MAILBOXES, CTRL_THREADS, MAILBOX_BYTES } from "../abi.js";
import { instantiateKernels, type KernelExports } from "../wasm/compile.js";
import { callerSleep } from "./caller-sleep.js";
import type { Team } from "./types.js";
import type { FromWorker, SpawnThread, Thread } from "./worker-source.js";

/** How long a parked thread may take to leave WebAssembly before it is terminated. */
const QUIT_GRACE_MS = 5;
/** The calling thread is never blocked for longer than about this: a frame. */
const MAX_BLOCK_MS = 16;
/** Where processors are left for the calling thread, it works itself only if this little is to be done. */
const SHORT_MS = 1;
/** Something that was not run yet may take so many times longer than what ran last. */
const UNKNOWN_FACTOR = 4;
/** Work on the calling thread between two turns of its event loop. */
const TURN_MS = 8;

export interface TeamOptions {
  readonly threads: number;
  /** Logical processors. */
  readonly cpus: number;
  /** Lets the event loop turn; absent where the calling thread must not wait, as that of a page. */
  readonly turn?: (() => Promise<void>) | undefined;
}

export async function workerExecutor(
  spawn: SpawnThread,
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  options: TeamOptions,
): Promise<Team> {
  const team = new WorkerTeam(spawn, module, memory, options);
  try {
    await team.start();
  } catch (error) {
    await team.dispose();
    throw error;
  }
  return team;
}

class WorkerTeam implements Team {
  readonly #spawn: SpawnThread;
  readonly #module: WebAssembly.Module;
  readonly #options: TeamOptions;
  #memory: WebAssembly.Memory | undefined;
  /** Thread 0 on the calling thread. */
  #caller: KernelExports | undefined;
  /** Thread 0 as a worker. */
  #lead: Thread | undefined;
  /** Threads 1 and up. */
  #serving: Thread[] = [];
  #threads: number;
  /** Milliseconds of the last run from an address. */
  readonly #lastMs = new Map<number, number>();
  /** Of whatever ran last. */
  #latestMs = 0;
  #turnedAt = 0;
  #failure: SubbitError | undefined;
  #pending: { resolve: () => void; reject: (error: SubbitError) => void } | undefined;
  #awaited = 0;
  /** Threads that were told to end. */
  readonly #ending = new WeakSet<Thread>();

  constructor(
    spawn: SpawnThread,
    module: WebAssembly.Module,
    memory: WebAssembly.Memory,
    options: TeamOptions,
  ) {
    this.#spawn = spawn;
    this.#module = module;
    this.#memory = memory;
    this.#options = options;
    this.#threads = options.threads;
  }

  get size(): number {
    return this.#serving.length + 1;
  }

  async start(): Promise<void> {
    const memory = this.#needMemory();
    const sleep = callerSleep(memory);
    if (this.#options.turn !== undefined && sleep !== undefined) {
      this.#caller = instantiateKernels(this.#module, memory, sleep);
    }
    const numbers = Array.from({ length: this.#options.threads - 1 }, (_, i) => i + 1);
    this.#serving = await this.#begin(numbers);
    if (this.#caller === undefined) [this.#lead] = await this.#begin([0]);
  }

  use(threads: number): void {
    this.#threads = Math.min(threads, this.size);
    // Times that were measured with another number say little.
    this.#lastMs.clear();
  }

  async trim(threads: number): Promise<void> {
    this.use(Math.min(this.#threads, threads));
    await this.#end(this.#needMemory(), this.#serving.splice(threads - 1), threads);
  }

  async run(start: number, end: number): Promise<void> {
    const memory = this.#needMemory();
    new Int32Array(memory.buffer, CTRL_THREADS, 1)[0] = this.#threads;
    const began = performance.now();
    if (this.#caller !== undefined && this.#isShort(start)) await this.#runHere(this.#caller, start, end);
    else await this.#runApart(start, end);
    const ms = performance.now() - began;
    this.#lastMs.set(start, ms);
    this.#latestMs = ms;
  }

  async dispose(): Promise<void> {
    const memory = this.#memory;
    if (memory === undefined) return;
    this.#memory = undefined;
    this.#caller = undefined;
    this.#settle(disposedError());
    const [serving, lead] = [this.#serving, this.#lead];
    this.#serving = [];
    this.#lead = undefined;
    await Promise.all([this.#end(memory, serving, 1), lead?.terminate()]);
  }

  #isShort(start: number): boolean {
    const expected = this.#lastMs.get(start) ?? this.#latestMs * UNKNOWN_FACTOR;
    const spare = this.#threads < this.#options.cpus;
    return expected <= (spare ? SHORT_MS : MAX_BLOCK_MS);
  }

  async #runHere(kernels: KernelExports, start: number, end: number): Promise<void> {
    if (performance.now() - this.#turnedAt > TURN_MS) {
      await this.#options.turn?.();
      this.#turnedAt = performance.now();
      // The turn may have brought news.
      this.#needMemory();
    }
    try {
      kernels.dispatch(start, end);
    } catch (error) {
      // Where another thread is to blame, it says so itself.
      await this.#options.turn?.();
      this.#fail(String((error instanceof Error && error.stack) || error));
      throw this.#failure ?? disposedError();
    }
  }

  async #runApart(start: number, end: number): Promise<void> {
    if (this.#lead === undefined) [this.#lead] = await this.#begin([0]);
    const lead = this.#lead;
    // An idle model does not keep the process alive; one at work does.
    lead.hold(true);
    try {
      await this.#await(1, () => lead.post({ start, end }));
    } finally {
      lead.hold(false);
    }
  }

  /** Starts threads of these numbers; they are ready when it returns. */
  async #begin(numbers: readonly number[]): Promise<Thread[]> {
    if (numbers.length === 0) return [];
    const memory = this.#needMemory();
    const threads = numbers.map(() => {
      const thread: Thread = this.#spawn({
        message: (message) => this.#hear(message),
        failure: (reason) => {
          if (!this.#ending.has(thread)) this.#fail(reason);
        },
      });
      return thread;
    });
    try {
      await this.#await(threads.length, () => {
        threads.forEach((thread, i) => thread.post({ module: this.#module, memory, thread: numbers[i] }));
      });
    } catch (error) {
      await Promise.all(threads.map((thread) => thread.terminate()));
      throw error;
    }
    for (const thread of threads) thread.hold(false);
    return threads;
  }

  /** Tells serving threads, the first of which has the number `first`, to leave WebAssembly, and ends them. */
  async #end(memory: WebAssembly.Memory, threads: readonly Thread[], first: number): Promise<void> {
    if (threads.length === 0) return;
    const control = new Int32Array(memory.buffer, 0, CTRL_END >>> 2);
    threads.forEach((thread, i) => {
      this.#ending.add(thread);
      const box = CTRL_MAILBOXES + (first + i) * MAILBOX_BYTES;
      Atomics.store(control, (box + BOX_QUIT) >>> 2, 1);
      Atomics.add(control, (box + BOX_COMMAND) >>> 2, 1);
      Atomics.notify(control, (box + BOX_COMMAND) >>> 2);
    });
    await new Promise<void>((resolve) => setTimeout(resolve, QUIT_GRACE_MS));
    await Promise.all(threads.map((thread) => thread.terminate()));
  }

  #needMemory(): WebAssembly.Memory {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#memory === undefined) throw disposedError();
    return this.#memory;
  }

  /** Resolves after `messages` good messages. */
  #await(messages: number, begin: () => void): Promise<void> {
    this.#needMemory();
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject };
      this.#awaited = messages;
      begin();
    });
  }

  #hear(message: FromWorker): void {
    if ("error" in message) this.#fail(message.error);
    else if (--this.#awaited === 0) this.#settle();
  }

  #fail(reason: string): void {
    if (this.#memory === undefined || this.#failure !== undefined) return;
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
