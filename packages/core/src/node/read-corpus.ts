/**
 * Reads a text file of the disk into a corpus; the reading itself is text/corpus.ts, which browsers share.
 * Text and JSON lines may be compressed (.gz, .zst); parquet files give the texts of one column.
 */
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { inputError } from "../errors.js";
import { encodeCorpus, encodeRecords, type Corpus, type CorpusOptions } from "../text/corpus.js";
import type { Tokenizer } from "../text/types.js";
import { decompressText, isCompressedName } from "./decompress-text.js";

/** Throws `input` when the file is absent, unreadable, not UTF-8 or parquet, damaged, or holds no text. */
export async function readCorpus(
  path: string,
  tokenizer: Tokenizer,
  options: CorpusOptions = {},
): Promise<Corpus> {
  const { textColumn, onProgress, signal } = options;
  if (/\.parquet$/i.test(path)) {
    // Loaded on demand: few texts are parquet.
    const { readParquetTexts } = await import("./read-parquet.js");
    const texts = await readParquetTexts(path, { column: textColumn, onProgress, signal });
    return encodeRecords(basename(path), texts, tokenizer, options);
  }
  return encodeCorpus(basename(path), await readTextFile(path), tokenizer, options);
}

/**
 * A UTF-8 file as text, byte order mark included; .gz and .zst files are decompressed. Throws `input` when it cannot be
 * read as such.
 */
export async function readTextFile(path: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw inputError(`The text ${path} cannot be read: ${reasonOf(cause)}.`, { cause });
  }
  if (isCompressedName(path)) bytes = await decompressText(bytes, path);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw inputError(`${path} is not UTF-8 text; convert it first.`, { cause });
  }
}

function reasonOf(cause: unknown): string {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  if (code === "ENOENT") return "there is no such file";
  if (code === "EISDIR") return "it is a folder";
  if (code === "EACCES" || code === "EPERM") return "permission was denied";
  return cause instanceof Error ? cause.message : String(cause);
}
