/**
 * Errors of @subbit/core, in one leaf file so that any module may throw them without an import cycle.
 *
 * A message is one sentence: what was asked, what was found, what to do. The code tells a program what to do with it.
 */

/**
 * - `input`: the input is malformed, unsupported or inconsistent (exit code 3)
 * - `usage`: the caller asked for something that does not exist or cannot be combined (exit code 2)
 * - `resources`: not enough memory or disk, said before the work starts (exit code 4)
 * - `interrupted`: the caller's AbortSignal fired; what was done is kept (exit code 130)
 * - `network`: a server or the way to it failed, also after further tries (exit code 1)
 * - `internal`: a promise of this code was broken; a bug (exit code 1)
 */
export type SubbitErrorCode = "input" | "usage" | "resources" | "interrupted" | "network" | "internal";

export class SubbitError extends Error {
  readonly code: SubbitErrorCode;

  constructor(code: SubbitErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "SubbitError";
    this.code = code;
  }
}

/** The input is malformed, unsupported or inconsistent. */
export function inputError(message: string, options?: ErrorOptions): SubbitError {
  return new SubbitError("input", message, options);
}

/** Throws an `interrupted` error when the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new SubbitError("interrupted", "Interrupted; what was done so far is kept.");
}
