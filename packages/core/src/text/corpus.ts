/**
 * A corpus: a text file turned into token ids, the way perplexity, calibration and training all read it.
 * Reference figures of the same readings: GPTQ's WikiText protocol (`rows`) and separated stories (`documents`).
 */
import { inputError, SubbitError, throwIfAborted } from "../errors.js";
import type { OnProgress } from "../progress.js";
import {
  chooseTextFormat,
  joinRows,
  splitDocuments,
  type TextFormat,
  type TextFormatRequest,
} from "./corpus-text.js";
import { sha256Hex } from "./sha256.js";
import type { Tokenizer } from "./types.js";

export interface CorpusOptions {
  /** @default chosen from the file's name and content */
  readonly format?: TextFormat | undefined;
  /** What stands between documents. @default the tokenizer's end-of-text token as text */
  readonly separator?: string | undefined;
  /** Puts one bos in front of the whole text (rows and plain; documents have theirs). @default false */
  readonly addBos?: boolean | undefined;
  /** Column of a parquet file, or field of a JSON line, that holds the text. @default "text" */
  readonly textColumn?: string | undefined;
  /** Documents tokenised so far. */
  readonly onProgress?: OnProgress | undefined;
  /** Looked at between documents. */
  readonly signal?: AbortSignal | undefined;
}

export interface Corpus {
  readonly ids: Int32Array;
  /** sha256 of the text as tokenised, in UTF-8: joined rows, the plain file, or documents with the token that bounds them. */
  readonly textSha256: string;
  /** Bytes of that text in UTF-8. */
  readonly textBytes: number;
  readonly format: TextFormat;
  /** How many documents, where there are any. */
  readonly documents?: number;
  /** For people: `tinystories.txt, documents (1500), 297,532 tokens`. */
  readonly description: string;
}

/** Documents tokenised between two looks at the signal: some 50 ms of a paragraph each. */
const DOCUMENTS_A_TURN = 256;

/** End-of-text markers that text files carry; those that the tokenizer knows as one token count. */
const COMMON_END_TEXTS = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"];

/**
 * Tokenises the text of a file. Throws `input` for an empty text, a malformed JSON line or a tokenizer without the
 * token that documents need.
 */
export async function encodeCorpus(
  fileName: string,
  text: string,
  tokenizer: Tokenizer,
  options: CorpusOptions = {},
): Promise<Corpus> {
  if (text.trim() === "")
    throw inputError(
      `${fileName} holds no text (${text.length} characters, all blank); give a file with text.`,
    );
  const request: TextFormatRequest = { fileName, text, endTexts: endTextsOf(tokenizer), ...options };
  const reading = chooseTextFormat(request);
  if (reading.format === "documents")
    return encodeDocuments(fileName, splitDocuments(text, reading, fileName), tokenizer, options);
  const whole = reading.format === "rows" ? joinRows(text) : text;
  return encodeWhole(fileName, whole, tokenizer, reading.format, options.addBos ?? false);
}

/**
 * Tokenises the texts of a data set's rows, such as a column of a parquet file: as documents, or by the GPTQ protocol
 * (`rows`: joined by two newlines as they are). Throws as `encodeCorpus` does, and `usage` for a format that rows of a
 * data set do not have.
 */
export async function encodeRecords(
  fileName: string,
  texts: readonly string[],
  tokenizer: Tokenizer,
  options: CorpusOptions = {},
): Promise<Corpus> {
  const { format = "documents", separator, addBos = false } = options;
  if (separator !== undefined) {
    throw new SubbitError(
      "usage",
      `A separator was given for ${fileName}, but each of its rows is a document; drop the separator.`,
    );
  }
  if (format === "plain") {
    throw new SubbitError(
      "usage",
      `${fileName} was to be read as plain text, but it holds rows; read it as documents or rows.`,
    );
  }
  if (format === "rows") {
    const text = texts.join("\n\n");
    if (text.trim() === "") throw inputError(`${fileName} holds no text; give a file with text.`);
    return encodeWhole(fileName, text, tokenizer, "rows", addBos);
  }
  const documents = texts.map((text) => text.trim()).filter((text) => text !== "");
  return encodeDocuments(fileName, documents, tokenizer, options);
}

async function encodeWhole(
  fileName: string,
  text: string,
  tokenizer: Tokenizer,
  format: "rows" | "plain",
  addBos: boolean,
): Promise<Corpus> {
  const body = tokenizer.encode(text);
  const ids = new Int32Array(body.length + (addBos ? 1 : 0));
  if (addBos) {
    if (tokenizer.bosId === undefined)
      throw inputError(
        `A bos token was asked for in front of ${fileName}, but the tokenizer has none; leave it out.`,
      );
    ids[0] = tokenizer.bosId;
  }
  ids.set(body, addBos ? 1 : 0);
  return describe(fileName, { ids, format, ...(await hashed(text)) });
}

async function encodeDocuments(
  fileName: string,
  documents: readonly string[],
  tokenizer: Tokenizer,
  { onProgress, signal }: CorpusOptions,
): Promise<Corpus> {
  const first = tokenizer.bosId ?? tokenizer.eosId;
  const last = tokenizer.eosId ?? tokenizer.bosId;
  if (first === undefined || last === undefined) {
    throw inputError(
      `${fileName} was to be read as documents, but the tokenizer has neither a bos nor an eos token; read it as plain text.`,
    );
  }
  if (documents.length === 0)
    throw inputError(`${fileName} holds only empty documents; give a file with text.`);
  const encoded: number[][] = [];
  for (const document of documents) {
    // Lets a signal come in, and whoever draws the progress.
    if (encoded.length % DOCUMENTS_A_TURN === DOCUMENTS_A_TURN - 1) {
      await new Promise((resolve) => setTimeout(resolve));
      throwIfAborted(signal);
      onProgress?.({
        stage: `read ${fileName}`,
        done: encoded.length,
        total: documents.length,
        unit: "documents",
      });
    }
    encoded.push(tokenizer.encode(document));
  }
  const ids = new Int32Array(encoded.reduce((sum, part) => sum + part.length + 1, 1));
  let at = 0;
  for (const part of encoded) {
    ids[at] = first;
    ids.set(part, at + 1);
    at += part.length + 1;
  }
  ids[at] = last;
  const opening = tokenizer.decode([first]);
  const text = documents.map((document) => opening + document).join("") + tokenizer.decode([last]);
  return describe(fileName, {
    ids,
    format: "documents",
    documents: documents.length,
    ...(await hashed(text)),
  });
}

async function hashed(text: string): Promise<{ textSha256: string; textBytes: number }> {
  const bytes = new TextEncoder().encode(text);
  return { textSha256: await sha256Hex(bytes), textBytes: bytes.length };
}

function describe(fileName: string, corpus: Omit<Corpus, "description">): Corpus {
  const count = corpus.documents === undefined ? "" : ` (${corpus.documents.toLocaleString("en-US")})`;
  const tokens = corpus.ids.length.toLocaleString("en-US");
  return { ...corpus, description: `${fileName}, ${corpus.format}${count}, ${tokens} tokens` };
}

/** The end-of-text tokens of a tokenizer as text, its own eos and bos first. */
function endTextsOf(tokenizer: Tokenizer): string[] {
  const texts = new Set<string>();
  for (const id of [tokenizer.eosId, tokenizer.bosId]) {
    if (id !== undefined) texts.add(tokenizer.decode([id]));
  }
  for (const text of COMMON_END_TEXTS) {
    if (tokenizer.encode(text).length === 1) texts.add(text);
  }
  texts.delete("");
  return [...texts];
}

/**
 * `count` windows of `seqlen` tokens from the start of the ids, without overlap; the rest is dropped.
 * Throws `input` when not even one fits.
 * @returns views, not copies
 */
export function windowsOf(
  corpus: Pick<Corpus, "ids" | "description">,
  seqlen: number,
  count?: number,
): Int32Array[] {
  const available = Math.floor(corpus.ids.length / seqlen);
  if (available === 0) {
    throw inputError(
      `Windows of ${seqlen} tokens were asked for, but the text has ${corpus.ids.length} tokens (${corpus.description}); give a longer text or a smaller sequence length.`,
    );
  }
  const windows: Int32Array[] = [];
  for (let w = 0; w < Math.min(available, count ?? available); w++) {
    windows.push(corpus.ids.subarray(w * seqlen, (w + 1) * seqlen));
  }
  return windows;
}
