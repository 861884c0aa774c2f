/**
 * The texts of a parquet file's column. The file is read by hyparquet in a process of its own (parquet-worker.ts), whose
 * memory and silence are bounded: nothing that a file claims can take this process down.
 */
import { fork, type ChildProcess } from "node:child_process";
import { access } from "node:fs/promises";
import { inputError, throwIfAborted } from "../errors.js";
import type { OnProgress } from "../progress.js";
import { DEFAULT_TEXT_COLUMN } from "../text/corpus-text.js";
import type { ParquetJob, ParquetReply } from "./parquet-messages.js";

export interface ReadParquetOptions {
  /** @default "text" */
  readonly column?: string | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Characters of all texts together. @default MAX_PARQUET_CHARACTERS */
  readonly maxCharacters?: number | undefined;
  /** Megabytes of the reading process's heap. @default 1536 */
  readonly maxHeapMegabytes?: number | undefined;
  /** How long one row group may take. @default 120 */
  readonly maxSilentSeconds?: number | undefined;
}

/** As much as one text file may hold. */
export const MAX_PARQUET_CHARACTERS = 2 ** 29;

/**
 * One text a row, "" for a null. Throws `input` for a file that is absent, damaged or has no such column of text,
 * `interrupted` when the signal fires.
 */
export async function readParquetTexts(path: string, options: ReadParquetOptions = {}): Promise<string[]> {
  const { column = DEFAULT_TEXT_COLUMN, onProgress, signal } = options;
  const { maxCharacters = MAX_PARQUET_CHARACTERS, maxHeapMegabytes = 1536, maxSilentSeconds = 120 } = options;
  try {
    await access(path);
  } catch (cause) {
    throw inputError(`The text ${path} cannot be read: there is no such file.`, { cause });
  }
  throwIfAborted(signal);
  const child = fork(workerUrl(), {
    execArgv: [`--max-old-space-size=${maxHeapMegabytes}`],
    serialization: "advanced",
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  const stop = (): void => void child.kill("SIGKILL");
  signal?.addEventListener("abort", stop, { once: true });
  try {
    const job: ParquetJob = { path, column, maxCharacters };
    return await collect(child, job, { maxHeapMegabytes, maxSilentSeconds, onProgress });
  } catch (error) {
    throwIfAborted(signal);
    throw error;
  } finally {
    signal?.removeEventListener("abort", stop);
    stop();
  }
}

interface Watch {
  readonly maxHeapMegabytes: number;
  readonly maxSilentSeconds: number;
  readonly onProgress: OnProgress | undefined;
}

function collect(child: ChildProcess, job: ParquetJob, watch: Watch): Promise<string[]> {
  const { path } = job;
  const parts: (readonly string[])[] = [];
  let rows = 0;
  let timer: NodeJS.Timeout | undefined;
  return new Promise<string[]>((resolve, reject) => {
    const watchOn = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        reject(
          inputError(
            `${path} gave no row group within ${watch.maxSilentSeconds} seconds; it is damaged, or its row groups are far too large.`,
          ),
        );
      }, watch.maxSilentSeconds * 1000);
    };
    child.on("message", (reply: ParquetReply) => {
      watchOn();
      if (reply.kind === "error") reject(inputError(reply.message));
      if (reply.kind === "done") resolve(parts.flat());
      if (reply.kind !== "texts") return;
      parts.push(reply.texts);
      rows += reply.texts.length;
      const total = Math.max(rows, reply.totalRows);
      watch.onProgress?.({ stage: `open ${path}`, done: rows, total, unit: "documents" });
    });
    child.on("error", reject);
    // Comes after the last message: where that was the end, this changes nothing.
    child.on("disconnect", () =>
      reject(
        inputError(
          `${path} could not be read within ${watch.maxHeapMegabytes} MB of memory; it is damaged, or its row groups are far too large.`,
        ),
      ),
    );
    watchOn();
    child.send(job);
  }).finally(() => clearTimeout(timer));
}

/** Tests run the sources, whose workers have to be the compiled ones. */
function workerUrl(): URL {
  const here = import.meta.url;
  return new URL(here.endsWith(".ts") ? "../../dist/node/parquet-worker.js" : "./parquet-worker.js", here);
}
