/** The thread side of the factorisation pool: one matrix at a time, with programs kept for shapes that come again. */
import { parentPort } from "node:worker_threads";
import { Factoriser } from "../factorise/factoriser.js";
import type { FactoriseJob, FactoriseReply } from "./factorise-pool.js";
import { ownBuffers } from "./transfer.js";

const factoriser = new Factoriser({ threads: 1 });

parentPort?.on("message", ({ weight, rows, cols, options }: FactoriseJob) => {
  factoriser.factorise(weight, rows, cols, options).then(
    (result) => parentPort?.postMessage({ result } satisfies FactoriseReply, ownBuffers(result)),
    (error: unknown) => parentPort?.postMessage({ error } satisfies FactoriseReply),
  );
});
