/** Workers of a browser (or Deno), started from a Blob. */
import { WORKER_SOURCE, type FromWorker, type SpawnThread } from "./worker-source.js";

export const spawnBrowserThread: SpawnThread = (events) => {
  const url = URL.createObjectURL(new Blob([WORKER_SOURCE], { type: "text/javascript" }));
  const worker = new Worker(url, { name: "subbit" });
  // The script is fetched before the first message arrives; the URL is not needed after that.
  const release = (): void => URL.revokeObjectURL(url);
  worker.onmessage = (event: MessageEvent<FromWorker>) => {
    release();
    events.message(event.data);
  };
  worker.onerror = (event) => {
    release();
    events.failure(event.message || "the worker could not start");
  };
  return {
    post: (message) => worker.postMessage(message),
    hold: () => undefined,
    terminate: () => {
      worker.terminate();
      return Promise.resolve();
    },
  };
};
