/**
 * Training text that the teacher writes itself, for models whose data nobody has: LLM-QAT (Liu et al. 2023, section 3.1),
 * which OneBit was trained on too. A document begins with the bos (else eos) token and one drawn token, goes on with a few
 * most likely ones and then with draws at temperature 1, until the teacher ends it or it is long enough. LLM-QAT draws
 * the first token from the whole vocabulary; here the teacher draws it too, so that no document begins as none would.
 *
 * Documents stand in a file of the work folder, one JSON array of ids a line behind a line that says what made them. Each
 * depends on the seed and its number alone: a run that was stopped goes on with the next one, and a longer text begins
 * with the shorter one's documents.
 */
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { inputError, throwIfAborted, type OnProgress, type SubbitError } from "@subbit/core";
import type { TokenText } from "@subbit/compress";
import type { GenerateOptions, RuntimeModel } from "@subbit/runtime";

/** What is asked of a running model. */
export type SelfTeacher = Pick<RuntimeModel, "generate" | "contextTokens" | "vocabSize" | "name">;

export interface SelfTextOptions {
  /** Stands before each document: bos, else eos. */
  readonly startId: number;
  /** Tokens that end a document; they are not kept. */
  readonly stopIds: ReadonlySet<number>;
  /** Tokens wanted. */
  readonly tokens: number;
  readonly seed: number;
  /** Where the documents stand. */
  readonly file: string;
  /** Of the teacher's weights. */
  readonly teacherSha256: string;
  /** Longest document. @default 512, or the context if shorter */
  readonly documentTokens?: number | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Most likely tokens after the first: LLM-QAT takes 3 to 5. */
const GREEDY_MIN = 3;
const GREEDY_MAX = 5;
const DOCUMENT_TOKENS = 512;
/** About the longest string that V8 holds. */
const MAX_FILE_BYTES = 2 ** 29 - 2 ** 10;
const FORMAT = "subbit self-generated text 1";

/** Opens the teacher only where documents are missing. Throws `input` for a file of something else, `interrupted` when the signal fires. */
export async function selfText(
  openTeacher: () => Promise<SelfTeacher>,
  options: SelfTextOptions,
): Promise<TokenText> {
  const { file, tokens, onProgress, signal } = options;
  const header = headerOf(options);
  const found = readDocuments(file, header);
  let made = found.documents.reduce((sum, ids) => sum + ids.length, 0);
  const { documents } = found;
  if (made < tokens) {
    const teacher = await openTeacher();
    mkdirSync(dirname(file), { recursive: true });
    const handle = openSync(file, existsSync(file) ? "r+" : "w");
    try {
      // A document that was cut off is made again.
      ftruncateSync(handle, found.bytes);
      let at = found.bytes === 0 ? writeLine(handle, header, 0) : found.bytes;
      while (made < tokens) {
        throwIfAborted(signal);
        const ids = await writeDocument(teacher, documents.length, options);
        at = writeLine(handle, JSON.stringify(ids), at);
        documents.push(ids);
        made += ids.length;
        const done = Math.min(made, tokens);
        onProgress?.({ stage: "text by the teacher", done, total: tokens, unit: "tokens" });
      }
    } finally {
      closeSync(handle);
    }
  }
  const ids = joined(documents, tokens);
  return { ids, name: `text of ${ids.length.toLocaleString("en-US")} tokens by the teacher` };
}

async function writeDocument(
  teacher: SelfTeacher,
  index: number,
  { startId, stopIds, seed, signal, documentTokens = DOCUMENT_TOKENS }: SelfTextOptions,
): Promise<number[]> {
  const longest = Math.min(documentTokens, teacher.contextTokens);
  const draw = (n: number): number => mix(seed, index, n);
  const ids = [startId];
  const goOn = async (most: number, options: GenerateOptions): Promise<boolean> => {
    const maxTokens = Math.min(most, longest - ids.length);
    if (maxTokens <= 0) return false;
    const made = teacher.generate([...ids], { ...options, maxTokens, ignoreEos: true, signal });
    for await (const { id } of made) {
      if (stopIds.has(id)) return false;
      ids.push(id);
    }
    return true;
  };
  const greedy = GREEDY_MIN + (draw(0) % (GREEDY_MAX - GREEDY_MIN + 1));
  if (await goOn(1, { temperature: 1, seed: draw(1) }))
    if (await goOn(greedy, { temperature: 0 })) await goOn(longest, { temperature: 1, seed: draw(2) });
  return ids;
}

/** A 32-bit seed of its own for each draw of each document. */
function mix(...values: readonly number[]): number {
  let state = 0x9e3779b9;
  for (const value of values) {
    state = Math.imul(state ^ value, 0x85ebca6b);
    state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35);
    state ^= state >>> 16;
  }
  return state >>> 0;
}

function headerOf({
  teacherSha256,
  seed,
  startId,
  documentTokens = DOCUMENT_TOKENS,
}: SelfTextOptions): string {
  return JSON.stringify({ format: FORMAT, teacherSha256, seed, startId, documentTokens });
}

interface StoredDocuments {
  readonly documents: number[][];
  /** Up to the end of the last whole document, header included; 0 for a file to be begun. */
  readonly bytes: number;
}

function readDocuments(path: string, header: string): StoredDocuments {
  if (!existsSync(path)) return { documents: [], bytes: 0 };
  if (statSync(path).size > MAX_FILE_BYTES) throw notOurs(path);
  const text = readFileSync(path, "latin1");
  const end = text.lastIndexOf("\n") + 1;
  // Cut off within its first line.
  if (end === 0 && header.startsWith(text)) return { documents: [], bytes: 0 };
  const [first, ...lines] = text.slice(0, end).split("\n").slice(0, -1);
  if (first !== header) throw notOurs(path);
  return { documents: lines.map((line) => parseDocument(line, path)), bytes: end };
}

function parseDocument(line: string, path: string): number[] {
  let ids: unknown;
  try {
    ids = JSON.parse(line);
  } catch {
    throw notOurs(path);
  }
  const isIds = Array.isArray(ids) && ids.length > 0 && ids.every((id) => Number.isInteger(id) && id >= 0);
  if (!isIds) throw notOurs(path);
  return ids as number[];
}

function notOurs(path: string): SubbitError {
  return inputError(
    `${path} holds no text that this teacher wrote with this seed; remove it, or give another --work folder.`,
  );
}

function writeLine(handle: number, line: string, at: number): number {
  const bytes = Buffer.from(`${line}\n`, "latin1");
  for (let done = 0; done < bytes.length;)
    done += writeSync(handle, bytes, done, bytes.length - done, at + done);
  return at + bytes.length;
}

function joined(documents: readonly (readonly number[])[], tokens: number): Int32Array {
  const ids = new Int32Array(tokens);
  let at = 0;
  for (const document of documents) {
    if (at === tokens) break;
    const part = document.slice(0, tokens - at);
    ids.set(part, at);
    at += part.length;
  }
  return ids;
}
