/**
 * Scores of rows on disk (`--work`), one line each, written as soon as the row is scored: a run that was killed loses the row
 * it was at. One file a model; lines that are not whole (a kill, a full disk) are scored again.
 */
import { createHash } from "node:crypto";
import { mkdir, open, readFile, stat, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { inputError, MAX_TEXT_BYTES, SubbitError, type Model } from "@subbit/core";
import type { LogLikelihoods, ScoreStore } from "@subbit/evaluate";
import type { BackendOptions } from "../backends.js";
import type { Context } from "../context.js";
import type { ModelOrigin } from "../open-source.js";
import { weightsHash } from "../teacher-files.js";
import { VERSION } from "../version.js";

/** First line of every journal. */
const HEADER = '{"subbit":"scores","version":1}';
const KEY = /^[0-9a-f]{64}$/;

export class ScoreJournal implements ScoreStore {
  readonly #file: FileHandle;
  readonly #scores: Map<string, LogLikelihoods>;

  private constructor(file: FileHandle, scores: Map<string, LogLikelihoods>) {
    this.#file = file;
    this.#scores = scores;
  }

  /**
   * Opens the journal of a model, or makes it. Throws `input` where the file is something else.
   *
   * @param modelKey hexadecimal, of everything that scores depend on
   */
  static async open(folder: string, modelKey: string): Promise<ScoreJournal> {
    await makeFolder(folder);
    const path = join(folder, `scores-${modelKey.slice(0, 16)}.jsonl`);
    const file = await open(path, "a");
    try {
      const { size } = await stat(path);
      if (size > MAX_TEXT_BYTES) {
        throw inputError(`${path} has ${size} bytes, more than any journal of scores; give another --work.`);
      }
      const text = await readFile(path, "utf8");
      if (text === "") await file.appendFile(`${HEADER}\n`);
      else if (!text.startsWith(`${HEADER}\n`)) {
        throw inputError(
          `${path} is no journal of scores of this version; remove it or give another --work.`,
        );
      } else if (!text.endsWith("\n")) await file.appendFile("\n");
      return new ScoreJournal(file, parseLines(text));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get(key: string): LogLikelihoods | undefined {
    return this.#scores.get(key);
  }

  async put(key: string, logLikelihoods: LogLikelihoods): Promise<void> {
    this.#scores.set(key, logLikelihoods);
    await this.#file.appendFile(`${JSON.stringify({ key, logLikelihoods })}\n`);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== "EEXIST" && code !== "ENOTDIR") throw cause;
    throw new SubbitError("usage", `--work ${folder} is no folder; give another name.`, { cause });
  }
}

function parseLines(text: string): Map<string, LogLikelihoods> {
  const scores = new Map<string, LogLikelihoods>();
  for (const line of text.split("\n").slice(1)) {
    const entry = parseLine(line);
    if (entry !== undefined) scores.set(entry.key, entry.logLikelihoods);
  }
  return scores;
}

function parseLine(line: string): { key: string; logLikelihoods: LogLikelihoods } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { key, logLikelihoods } = value as { key?: unknown; logLikelihoods?: unknown };
  if (typeof key !== "string" || !KEY.test(key) || !Array.isArray(logLikelihoods)) return undefined;
  if (!logLikelihoods.every((one) => typeof one === "number" && Number.isFinite(one))) return undefined;
  return { key, logLikelihoods: logLikelihoods as number[] };
}

/** What else scores depend on. */
export type ScoringBackend = Pick<BackendOptions, "kvBits"> & { readonly device: string };

/** Hash of weights, config, tokenizer, way of running and version; threads do not change scores. */
export async function scoringKey(
  context: Context,
  origin: ModelOrigin,
  model: Model,
  { device, kvBits }: ScoringBackend,
): Promise<string> {
  const { checkpoint } = model;
  const parts: unknown[] = [VERSION, device === "auto" ? "cpu" : device, kvBits ?? null, checkpoint.config];
  parts.push(await weightsHash(context, origin, model));
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    parts.push((await checkpoint.readText(name)) ?? null);
  }
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
