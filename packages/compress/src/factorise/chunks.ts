/** Runs a schedule of rho in pieces, between which the caller may stop, and with careful inverses once plain ones fail. */
import { throwIfAborted } from "@subbit/core";
import { type AdmmShape, chunkOf } from "./admm-program.js";
import { INVERSE_ERROR_LIMIT } from "./shifted-inverse.js";

export interface Schedule<Chunk extends { readonly inverseError: number }> {
  readonly shape: AdmmShape;
  /** rho of every iteration. */
  readonly rhos: readonly number[];
  /** Goes on from the state of the chunk taken last. */
  readonly run: (rhos: readonly number[], careful: boolean) => Promise<Chunk>;
  /** Keeps the state of a chunk whose inverses were good enough. */
  readonly take: (chunk: Chunk) => Promise<void> | void;
  readonly signal?: AbortSignal | undefined;
  readonly onIteration?: ((done: number) => void) | undefined;
}

/** Throws `interrupted` when the signal fires. */
export async function runInChunks<Chunk extends { readonly inverseError: number }>(
  schedule: Schedule<Chunk>,
): Promise<void> {
  const { shape, rhos, run, take, signal, onIteration } = schedule;
  const length = chunkOf(shape);
  let careful = false;
  for (let done = 0; done < rhos.length;) {
    throwIfAborted(signal);
    const chunk = await run(rhos.slice(done, done + length), careful);
    if (!careful && !(chunk.inverseError <= INVERSE_ERROR_LIMIT)) {
      careful = true;
      continue;
    }
    await take(chunk);
    done = Math.min(done + length, rhos.length);
    onIteration?.(done);
  }
  throwIfAborted(signal);
}
