/** Worker threads of Node. */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { WORKER_SOURCE, type FromWorker, type SpawnThread } from "../executors/worker-source.js";

export const spawnNodeThread: SpawnThread = (events) => {
  // Without the flags of the process: `--input-type=module` would make the source a module.
  const worker = new Worker(WORKER_SOURCE, { eval: true, name: "subbit", execArgv: [] });
  worker.on("message", (message: FromWorker) => events.message(message));
  worker.on("error", (error) => events.failure(error.stack ?? error.message));
  worker.on("messageerror", (error) => events.failure(error.message));
  worker.on("exit", (code) => events.failure(`the worker ended with code ${code}`));
  return {
    post: (message) => worker.postMessage(message),
    hold: (alive) => (alive ? worker.ref() : worker.unref()),
    terminate: async () => {
      await worker.terminate();
    },
  };
};

/** Lets timers, input and output have their turn. */
export function turnEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export function cpuCount(): number {
  return availableParallelism();
}
