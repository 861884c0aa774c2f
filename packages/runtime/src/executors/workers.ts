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
import type { SpawnThread, Thread } from "./worker-source.js";

/** How long a parked thread may take to leave WebAssembly before it is terminated. */
const QUIT_GRACE_MS = 5;
/** The calling thread is never blocked for longer than about this; work that takes longer gains nothing from it anyway. */
const MAX_BLOCK_MS = 4;
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

/** Serving threads join as they get ready; until then there are fewer. */
export function workerExecutor(
  spawn: SpawnThread,
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  options: TeamOptions,
): Team {
  return new WorkerTeam(spawn, module, memory, options);
}

/** A worker and whether it can be given work. */
interface Member {
  readonly thread: Thread;
  readonly ready: Promise<void>;
  isReady: boolean;
  /** It was told to end. */
  ending: boolean;
}

class WorkerTeam implements Team {
  readonly #spawn: SpawnThread;
  readonly #module: WebAssembly.Module;
  readonly #options: TeamOptions;
  #memory: WebAssembly.Memory | undefined;
  /** Thread 0 on the calling thread. */
  #caller: KernelExports | undefined;
  /** Thread 0 as a worker. */
  #lead: Member | undefined;
  /** Threads 1 and up. */
  #serving: Member[] = [];
  /** Most that are used. */
  #threads: number;
  /** Milliseconds of the last run from an address. */
  readonly #lastMs = new Map<number, number>();
  /** Of whatever ran last. */
  #latestMs = 0;
  #turnedAt = performance.now();
  #failure: SubbitError | undefined;
  /** The run that thread 0 is at, or nothing. */
  #running: { resolve: () => void; reject: (error: SubbitError) => void } | undefined;

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
    const sleep = options.turn && callerSleep(memory);
    if (sleep !== undefined) this.#caller = instantiateKernels(module, memory, sleep);
    else this.#lead = this.#start(0);
    for (let number = 1; number < options.threads; number++) this.#serving.push(this.#start(number));
  }

  get size(): number {
    return this.#serving.length + 1;
  }

  async ready(): Promise<void> {
    this.#needMemory();
    const members = this.#lead === undefined ? this.#serving : [this.#lead, ...this.#serving];
    await Promise.all(members.map((member) => member.ready));
  }

  use(threads: number): void {
    this.#threads = threads;
    // Times that were measured with another number say little.
    this.#lastMs.clear();
  }

  async trim(threads: number): Promise<void> {
    this.use(Math.min(this.#threads, threads));
    await this.#end(this.#needMemory(), this.#serving.splice(threads - 1), threads);
  }

  async run(start: number, end: number, short = false): Promise<void> {
    const memory = this.#needMemory();
    new Int32Array(memory.buffer, CTRL_THREADS, 1)[0] = Math.min(this.#threads, this.#available());
    const began = performance.now();
    if (this.#caller !== undefined && (short || this.#isShort(start))) {
      await this.#runHere(this.#caller, start, end);
    } else await this.#runApart(start, end);
    this.#latestMs = performance.now() - began;
    this.#lastMs.set(start, this.#latestMs);
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
    if (lead !== undefined) lead.ending = true;
    await Promise.all([this.#end(memory, serving, 1), lead?.thread.terminate() ?? Promise.resolve()]);
  }

  /** Thread 0 and those after it up to the first that is not ready: their numbers must have no gap. */
  #available(): number {
    const waiting = this.#serving.findIndex(({ isReady }) => !isReady);
    return waiting < 0 ? this.size : waiting + 1;
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
    const lead = (this.#lead ??= this.#start(0));
    const { thread } = lead;
    await lead.ready;
    this.#needMemory();
    // An idle model does not keep the process alive; one at work does.
    thread.hold(true);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#running = { resolve, reject };
        thread.post({ start, end });
      });
    } finally {
      release(lead);
    }
  }

  /** Starts the thread of this number, which keeps the process alive until it is ready. */
  #start(number: number): Member {
    const memory = this.#needMemory();
    let settle: { resolve: () => void; reject: (error: SubbitError) => void };
    const ready = new Promise<void>((resolve, reject) => (settle = { resolve, reject }));
    // Heard by whoever runs something next.
    ready.catch(() => undefined);
    const thread = this.#spawn({
      message: (message) => {
        if ("error" in message) this.#fail(message.error);
        else if ("done" in message) this.#settle();
        else {
          member.isReady = true;
          release(member);
          settle.resolve();
        }
      },
      failure: (reason) => {
        if (!member.ending) this.#fail(reason);
        settle.reject(this.#failure ?? disposedError());
      },
    });
    const member: Member = { thread, ready, isReady: false, ending: false };
    thread.post({ module: this.#module, memory, thread: number });
    return member;
  }

  /** Tells serving threads, the first of which has the number `first`, to leave WebAssembly, and ends them. */
  async #end(memory: WebAssembly.Memory, members: readonly Member[], first: number): Promise<void> {
    if (members.length === 0) return;
    const control = new Int32Array(memory.buffer, 0, CTRL_END >>> 2);
    members.forEach((member, i) => {
      member.ending = true;
      const box = CTRL_MAILBOXES + (first + i) * MAILBOX_BYTES;
      Atomics.store(control, (box + BOX_QUIT) >>> 2, 1);
      Atomics.add(control, (box + BOX_COMMAND) >>> 2, 1);
      Atomics.notify(control, (box + BOX_COMMAND) >>> 2);
    });
    await new Promise<void>((resolve) => setTimeout(resolve, QUIT_GRACE_MS));
    await Promise.all(members.map(({ thread }) => thread.terminate()));
  }

  #needMemory(): WebAssembly.Memory {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#memory === undefined) throw disposedError();
    return this.#memory;
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
    const running = this.#running;
    this.#running = undefined;
    if (error === undefined) running?.resolve();
    else running?.reject(error);
  }
}

/** It does not keep the process alive any more, unless its end is awaited. */
function release({ thread, ending }: Member): void {
  if (!ending) thread.hold(false);
}

function disposedError(): SubbitError {
  return new SubbitError("usage", "The model was disposed while it was asked to work; load it again.");
}
