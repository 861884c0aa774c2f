/** Scores the rows of a task one after another; rows that a store holds already are not run again. */
import { sha256Hex, throwIfAborted, type OnProgress, type Tokenizer } from "@subbit/core";
import type { Scorer } from "../scorer.js";
import { encodeRows, type EncodedRow, type EncodeOptions } from "./encode-rows.js";
import type { LogLikelihoods } from "./metrics.js";
import { scoreChoices } from "./score-choices.js";
import type { TaskRow } from "./types.js";

/** What was scored before, by this model; keys are hashes of a row's requests. */
export interface ScoreStore {
  get(key: string): LogLikelihoods | undefined;
  /** Keeps one row; called as soon as it is scored. */
  put(key: string, logLikelihoods: LogLikelihoods): Promise<void>;
}

/** A task whose rows are tokenised as far as they must be run. */
export interface PreparedTask {
  readonly name: string;
  readonly rows: readonly PreparedRow[];
  /** Tokens of the longest text that must be run; 0 where none must. */
  readonly longest: number;
}

interface PreparedRow {
  readonly key: string;
  /** Scored before. */
  readonly known: LogLikelihoods | undefined;
  /** Absent where it is known. */
  readonly encoded: EncodedRow | undefined;
}

/** Looks rows up in the store and tokenises the others. Throws as `encodeRows`. */
export async function prepareTask(
  rows: readonly TaskRow[],
  tokenizer: Tokenizer,
  options: EncodeOptions & { readonly store?: ScoreStore | undefined },
): Promise<PreparedTask> {
  const looked: { key: string; known: LogLikelihoods | undefined }[] = [];
  for (const row of rows) {
    const key = await requestsKey(row);
    const known = options.store?.get(key);
    looked.push({ key, known: known?.length === row.requests.length ? known : undefined });
  }
  const encoded = await encodeRows(
    rows.filter((_, i) => looked[i].known === undefined),
    tokenizer,
    options,
  );
  let next = 0;
  return {
    name: options.name,
    rows: looked.map((row) => ({
      ...row,
      encoded: row.known === undefined ? encoded[next++] : undefined,
    })),
    // The last token is never read.
    longest: encoded
      .flatMap(({ choices }) => choices)
      .reduce((most, { ids }) => Math.max(most, ids.length - 1), 0),
  };
}

export interface ScoreOptions {
  readonly store?: ScoreStore | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Log-likelihoods of all rows, in their order. Throws `interrupted` between rows when the signal fires. */
export async function scoreTask(
  task: PreparedTask,
  scorer: Scorer,
  { store, onProgress, signal }: ScoreOptions = {},
): Promise<LogLikelihoods[]> {
  const total = task.rows.length;
  let done = task.rows.filter(({ known }) => known !== undefined).length;
  const report = (): void => onProgress?.({ stage: `score ${task.name}`, done, total, unit: "rows" });
  report();
  const scores: LogLikelihoods[] = [];
  for (const { key, known, encoded } of task.rows) {
    if (encoded === undefined) {
      scores.push(known ?? []);
      continue;
    }
    throwIfAborted(signal);
    const logLikelihoods = await scoreChoices(encoded.choices, scorer, signal);
    await store?.put(key, logLikelihoods);
    scores.push(logLikelihoods);
    done++;
    report();
  }
  return scores;
}

/** Of what the model is asked, not of the answer: a corrected answer needs no new run. */
async function requestsKey({ requests }: TaskRow): Promise<string> {
  const texts = requests.map(({ context, continuation }) => [context, continuation]);
  return sha256Hex(new TextEncoder().encode(JSON.stringify(texts)));
}
