/** What went wrong, as an exit code and one sentence. */
import { SubbitError, type SubbitErrorCode } from "@subbit/core";
import { CommanderError } from "commander";

export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  input: 3,
  resources: 4,
  interrupted: 130,
} as const;

/** `failed`: the system refused something (rights, a read-only disk); nobody's input was wrong. */
export type FailureCode = SubbitErrorCode | "failed";

export interface Failure {
  readonly exitCode: number;
  /** For JSON. */
  readonly code: FailureCode;
  readonly sentence: string;
}

const EXIT_OF_CODE: Readonly<Record<FailureCode, number>> = {
  input: EXIT.input,
  usage: EXIT.usage,
  resources: EXIT.resources,
  interrupted: EXIT.interrupted,
  network: EXIT.failed,
  internal: EXIT.failed,
  failed: EXIT.failed,
};

function failure(code: FailureCode, sentence: string): Failure {
  return { exitCode: EXIT_OF_CODE[code], code, sentence };
}

export function failureOf(error: unknown): Failure {
  for (const cause of causesOf(error)) {
    const found = systemFailure(cause);
    // A full disk or memory is that, whatever was being done when it happened.
    if (found?.code === "resources") return found;
  }
  if (error instanceof SubbitError) return failure(error.code, oneLine(error.message));
  if (error instanceof CommanderError) return failure("usage", commanderSentence(error));
  if (error instanceof Error && error.name === "AbortError")
    return failure("interrupted", "Interrupted; what was done so far is kept.");
  const message = error instanceof Error ? error.message : String(error);
  return systemFailure(error) ?? failure("internal", `${oneLine(message)} (a bug; --debug shows where)`);
}

/** Failures of the operating system that people meet, by errno or by what the allocators say. */
function systemFailure(error: unknown): Failure | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, path } = error as NodeJS.ErrnoException;
  const where = path === undefined ? "" : ` (${path})`;
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
      return failure(
        "resources",
        `No space is left on the disk${where}; free some or write elsewhere, then run the same command again.`,
      );
    case "ENOMEM":
      return failure(
        "resources",
        "The system has no memory left; close other programs or use a smaller model.",
      );
    case "EACCES":
    case "EPERM":
      return failure("failed", `Permission was denied${where}; check the rights of the file or folder.`);
    case "EROFS":
      return failure("failed", `The file system is read-only${where}; write elsewhere.`);
    case "ENOENT":
      return failure("input", `There is no such file or folder${where}.`);
    case "ENOTDIR":
      return failure("input", `A part of the path is a file, not a folder${where}.`);
    case "EISDIR":
      return failure("input", `A folder was found where a file was expected${where}.`);
    default:
      return /array buffer allocation failed|invalid (typed )?array length|bad_alloc|failed to allocate memory/i.test(
        error.message,
      )
        ? failure(
            "resources",
            "Not enough memory for this model; close other programs, use a smaller model or a smaller --seqlen.",
          )
        : undefined;
  }
}

/** Commander says `error: unknown option '--x'`, sometimes with a suggestion on a second line. */
function commanderSentence(error: CommanderError): string {
  const text = oneLine(error.message.replace(/^error: /, "")).replace(
    /\s*\((Did you mean [^)]*\?)\)/,
    "; $1",
  );
  const sentence = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.?!]$/.test(sentence) ? sentence : `${sentence}.`;
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, " ").trim();
}

function* causesOf(error: unknown): Generator<unknown> {
  let current = error;
  // A chain longer than this is a loop.
  for (let depth = 0; depth < 8 && current !== undefined; depth++) {
    yield current;
    current = current instanceof Error ? current.cause : undefined;
  }
}
