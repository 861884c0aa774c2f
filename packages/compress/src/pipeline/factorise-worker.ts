/** The thread side of the factorisation pool: one matrix at a time, with programs kept for shapes that come again. */
import { parentPort } from "node:worker_threads";
import { Factoriser } from "../factorise/factoriser.js";
import { type FactoriseJob, type FactoriseReply, STOP } from "./factorise-pool.js";
import { ownBuffers } from "./transfer.js";

const factoriser = new Factoriser({ threads: 1 });

let current: AbortController | undefined;

parentPort?.on("message", (message: FactoriseJob | typeof STOP) => {
  if (message === STOP) {
    current?.abort();
    return;
  }
  const { weight, rows, cols, options } = message;
  current = new AbortController();
  factoriser.factorise(weight, rows, cols, { ...options, signal: current.signal }).then(
    (result) => parentPort?.postMessage({ result } satisfies FactoriseReply, ownBuffers(result)),
    (error: unknown) => parentPort?.postMessage({ error } satisfies FactoriseReply),
  );
});
