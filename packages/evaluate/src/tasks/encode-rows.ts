/**
 * From texts to the tokens that are scored, as lm-evaluation-harness splits them: the continuation's tokens are what the whole
 * text has beyond the context's, and it is never encoded alone. Too long texts lose their beginning.
 */
import { inputError, throwIfAborted, type OnProgress, type Tokenizer } from "@subbit/core";
import { trailingSpaces } from "./python-text.js";
import type { ChoiceRequest, TaskRow } from "./types.js";

/** Tokens of one request. */
export interface EncodedChoice {
  /** Context and continuation. */
  readonly ids: Int32Array;
  /** How many of them are the context, at least one. */
  readonly contextTokens: number;
}

export interface EncodedRow {
  readonly row: number;
  readonly choices: readonly EncodedChoice[];
}

export interface EncodeOptions {
  /** Most tokens that the model reads; the last one of a text is predicted only. */
  readonly maxTokens: number;
  /** Name of the task, for messages and progress. */
  readonly name: string;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Milliseconds between breaths, in which a signal may come. */
const BREATH_MS = 50;

/** Throws `input` for a choice that has no tokens of its own or more than the model reads. */
export async function encodeRows(
  rows: readonly TaskRow[],
  tokenizer: Tokenizer,
  options: EncodeOptions,
): Promise<EncodedRow[]> {
  const encoded: EncodedRow[] = [];
  let breathed = performance.now();
  for (const { row, requests } of rows) {
    if (performance.now() - breathed > BREATH_MS) {
      const [done, total] = [encoded.length, rows.length];
      options.onProgress?.({ stage: `tokenize ${options.name}`, done, total, unit: "rows" });
      await new Promise((resolve) => setTimeout(resolve));
      breathed = performance.now();
    }
    throwIfAborted(options.signal);
    const encode = remember((text) => tokenizer.encode(text, { addSpecialTokens: true }));
    const choices = requests.map((request) => {
      const split = encodeRequest(request, tokenizer, encode);
      return cut(split, options.maxTokens, `Row ${row} of ${options.name}`);
    });
    encoded.push({ row, choices });
  }
  return encoded;
}

interface SplitTokens {
  readonly context: readonly number[];
  readonly continuation: readonly number[];
}

/** The choices of a row mostly share their context. */
function remember(encode: (text: string) => number[]): (text: string) => number[] {
  const known = new Map<string, number[]>();
  return (text) => {
    const ids = known.get(text) ?? encode(text);
    known.set(text, ids);
    return ids;
  };
}

function encodeRequest(
  request: ChoiceRequest,
  tokenizer: Tokenizer,
  encode: (text: string) => number[],
): SplitTokens {
  // White space belongs to the word after it, in most vocabularies.
  const spaces = trailingSpaces(request.context);
  const context = request.context.slice(0, request.context.length - spaces);
  const whole = request.context + request.continuation;
  if (context === "") return afterPrefix(tokenizer.encode(whole), tokenizer);
  const ids = encode(context);
  return { context: ids, continuation: encode(whole).slice(ids.length) };
}

/** Nothing stands before the continuation: the bos token (else eos) does, unless it is there already. */
function afterPrefix(ids: readonly number[], { bosId, eosId }: Tokenizer): SplitTokens {
  const prefix = bosId ?? eosId;
  if (prefix === undefined) {
    throw inputError(
      "A row has an empty context, and the tokenizer has no bos or eos token to stand for it; give a context.",
    );
  }
  return ids[0] === prefix
    ? { context: ids.slice(0, 1), continuation: ids.slice(1) }
    : { context: [prefix], continuation: ids };
}

function cut({ context, continuation }: SplitTokens, maxTokens: number, where: string): EncodedChoice {
  if (continuation.length === 0) {
    throw inputError(
      `${where} has a choice without tokens of its own (its text melts into the context); give choices with text.`,
    );
  }
  if (continuation.length > maxTokens) {
    throw inputError(
      `${where} has a choice of ${continuation.length} tokens, but the model reads ${maxTokens} at most; shorten it.`,
    );
  }
  const dropped = Math.max(0, context.length + continuation.length - (maxTokens + 1));
  return {
    ids: Int32Array.from([...context, ...continuation]).subarray(dropped),
    contextTokens: context.length - dropped,
  };
}
