/** A process of its own that holds one model. */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { SubbitError } from "@subbit/core";
import type { Answer, EngineName, Opened, OpenOrder, Order, Round, RoundOrder } from "./protocol.js";

const WORKERS = { subbit: "./subbit-worker.js", "node-llama-cpp": "./llama-worker.js" } as const;
/** Of what a process said before it died. */
const LAST_WORDS = 2000;

export interface OpenedChild extends Opened {
  /** From the start of the process, its imports included. */
  readonly startMs: number;
}

export class BenchChild {
  readonly #process: ChildProcess;
  readonly #name: string;
  readonly #startedMs = performance.now();
  #waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;
  #words = "";
  #ended = false;

  constructor(engine: EngineName, name: string) {
    this.#name = name;
    // Without the flags of this process, such as a debugger's.
    this.#process = fork(fileURLToPath(new URL(WORKERS[engine], import.meta.url)), [], {
      execArgv: [],
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    this.#process.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#words = (this.#words + text).slice(-LAST_WORDS);
    });
    this.#process.on("message", (answer: Answer) => this.#settle(answer));
    this.#process.on("error", (error) => this.#fail(error.message));
    this.#process.on("close", (code, signal) => this.#fail(signal ?? `exit code ${code}`));
  }

  async open(order: OpenOrder): Promise<OpenedChild> {
    const answer = await this.#ask({ kind: "open", ...order });
    if (answer.kind !== "opened") throw this.#confused(answer);
    return { ...answer.opened, startMs: performance.now() - this.#startedMs };
  }

  async round(order: RoundOrder): Promise<Round> {
    const answer = await this.#ask({ kind: "round", ...order });
    if (answer.kind !== "round") throw this.#confused(answer);
    return answer.round;
  }

  async tokenizerMs(): Promise<number | undefined> {
    const answer = await this.#ask({ kind: "tokenizer" });
    if (answer.kind !== "tokenizer") throw this.#confused(answer);
    return answer.ms;
  }

  /** Share of one core that the process takes for `ms` in which nothing is asked of it. */
  async idleShare(ms: number): Promise<number> {
    const answer = await this.#ask({ kind: "rest", ms });
    if (answer.kind !== "rest") throw this.#confused(answer);
    return answer.idle.cpuMs / answer.idle.wallMs;
  }

  /** Ends the process at once: it holds nothing that is worth more than its figures. */
  end(): Promise<void> {
    if (this.#ended) return Promise.resolve();
    const closed = new Promise<void>((resolve) => this.#process.once("close", () => resolve()));
    this.#process.kill("SIGKILL");
    return closed;
  }

  #ask(order: Order): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      if (this.#ended) this.#fail("it is gone");
      else this.#process.send(order, (error) => error && this.#fail(error.message));
    });
  }

  #settle(answer: Answer): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (answer.kind === "error")
      waiting?.reject(new SubbitError(answer.code, `${this.#name}: ${answer.message}`));
    else waiting?.resolve(answer);
  }

  #fail(reason: string): void {
    this.#ended = true;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    const words = this.#words.trim().split("\n").at(-1) ?? "";
    waiting?.reject(
      new SubbitError(
        "internal",
        `The process that measures ${this.#name} ended (${reason})${words === "" ? "" : `: ${words}`}.`,
      ),
    );
  }

  #confused(answer: Answer): SubbitError {
    return new SubbitError("internal", `The process that measures ${this.#name} answered ${answer.kind}.`);
  }
}
