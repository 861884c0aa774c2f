/** Further tries of what may go better next time: bounded in number, with growing pauses. */
import { setTimeout as sleep } from "node:timers/promises";
import { SubbitError, throwIfAborted } from "@subbit/core";

/** A failure that may pass: a cut connection, a stall, a busy server, an answer that was not what was asked. */
export class TransientError extends Error {
  /** What the server asked to wait. */
  readonly waitMs: number | undefined;

  /** Tries that are enough for this kind of failure. */
  readonly attempts: number;

  constructor(message: string, options: ErrorOptions & { waitMs?: number; attempts?: number } = {}) {
    super(message, options);
    this.name = "TransientError";
    this.waitMs = options.waitMs;
    this.attempts = options.attempts ?? Infinity;
  }
}

export interface RetryPolicy {
  /** @default 6 */
  readonly attempts?: number;
  /** First pause; doubled each time. @default 500 */
  readonly pauseMs?: number;
}

const DEFAULT_ATTEMPTS = 6;
const DEFAULT_PAUSE_MS = 500;
/** No pause is longer, whatever the server asks. */
const LONGEST_PAUSE_MS = 60_000;

/** Runs `once` until it succeeds, fails for good, or has failed `attempts` times; then throws `network`. */
export async function withRetries<R>(
  what: string,
  policy: RetryPolicy,
  signal: AbortSignal | undefined,
  once: () => Promise<R>,
): Promise<R> {
  const { attempts = DEFAULT_ATTEMPTS, pauseMs = DEFAULT_PAUSE_MS } = policy;
  for (let attempt = 1; ; attempt++) {
    throwIfAborted(signal);
    try {
      return await once();
    } catch (error) {
      throwIfAborted(signal);
      if (!(error instanceof TransientError)) throw error;
      if (attempt >= Math.min(attempts, error.attempts)) {
        throw new SubbitError(
          "network",
          `${what} failed ${attempt} times, at last because ${error.message}; run the same command again to go on.`,
          { cause: error },
        );
      }
      // Jitter, so that many readers of a server that fell over do not come back together.
      const pause = pauseMs * 2 ** (attempt - 1) * (0.75 + 0.5 * Math.random());
      await pauseFor(Math.min(LONGEST_PAUSE_MS, Math.max(pause, error.waitMs ?? 0)), signal);
    }
  }
}

async function pauseFor(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(milliseconds, undefined, signal ? { signal } : {}).catch(() => undefined);
  throwIfAborted(signal);
}
