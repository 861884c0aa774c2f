/** One process at a time in a cached model; the others wait for it and find everything there. */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted } from "@subbit/core";
import { tryProcessLock, type LockHolder } from "@subbit/core/node";

const POLL_MS = 200;

export interface LockOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called once, when somebody else holds the lock. */
  readonly onWait?: ((holder: LockHolder) => void) | undefined;
}

/** Runs `body` while no other process does the same with this lock file. */
export async function withLock<R>(path: string, options: LockOptions, body: () => Promise<R>): Promise<R> {
  await mkdir(dirname(path), { recursive: true });
  let told = false;
  for (;;) {
    throwIfAborted(options.signal);
    const outcome = await tryProcessLock(path);
    if (outcome.taken) {
      try {
        return await body();
      } finally {
        await outcome.release();
      }
    }
    if (!told) options.onWait?.(outcome.holder);
    told = true;
    await sleep(POLL_MS);
  }
}
