/**
 * Reads one text column of a parquet file, row group by row group, in a process of its own: hyparquet trusts the
 * counts in a file, and a damaged or hostile one can make it fill the memory or never end. The parent has set the
 * heap's limit and ends this process when it falls silent.
 */
import { open, type FileHandle } from "node:fs/promises";
import { type AsyncBuffer, parquetMetadataAsync, parquetReadObjects, parquetSchema } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { DEFAULT_TEXT_COLUMN } from "../text/corpus-text.js";
import type { ParquetJob, ParquetReply } from "./parquet-messages.js";

/** Bytes of one page, uncompressed; writers aim at one megabyte. */
const MAX_PAGE_BYTES = 2 ** 28;
/** Bytes of a column in one row group. */
const MAX_CHUNK_BYTES = 2 ** 30;
/** Column names that a message lists. */
const MAX_LISTED = 12;

type Compressors = typeof compressors;

/** A sentence for the user; whatever else is thrown is the library's word on a damaged file. */
class Refusal extends Error {}

process.once("message", (job: ParquetJob) => {
  read(job)
    .catch((error: unknown) => send({ kind: "error", message: messageOf(error, job.path) }))
    .finally(() => process.disconnect());
});

async function read({ path, column, maxCharacters }: ParquetJob): Promise<void> {
  const handle = await open(path, "r");
  try {
    const file = boundedBuffer(handle, (await handle.stat()).size);
    const metadata = await parquetMetadataAsync(file, { geoparquet: false });
    checkColumn(parquetSchema(metadata).children, column, path);
    const totalRows = Number(metadata.num_rows);
    let characters = 0;
    let rowStart = 0;
    for (const group of metadata.row_groups) {
      const rowEnd = rowStart + Number(group.num_rows);
      const rows = await parquetReadObjects({
        file,
        metadata,
        columns: [column],
        rowStart,
        rowEnd,
        compressors: bounded,
      });
      const texts = rows.map((row, i) => textOf(row[column], rowStart + i, column, path));
      for (const text of texts) characters += text.length;
      if (characters > maxCharacters) {
        throw new Refusal(
          `${path} holds more than the ${maxCharacters} characters of text that one file may have; split it.`,
        );
      }
      await send({ kind: "texts", texts, totalRows });
      rowStart = rowEnd;
    }
    await send({ kind: "done" });
  } finally {
    await handle.close();
  }
}

/** Reads nothing outside of the file and nothing larger than a column may be. */
function boundedBuffer(handle: FileHandle, byteLength: number): AsyncBuffer {
  return {
    byteLength,
    async slice(start, end = byteLength) {
      if (!(start >= 0 && start <= end && end <= byteLength)) {
        throw new Error(`bytes ${start} to ${end} are asked for, but the file has ${byteLength}`);
      }
      if (end - start > MAX_CHUNK_BYTES)
        throw new Error(`a column has ${end - start} bytes in one row group, above ${MAX_CHUNK_BYTES}`);
      const bytes = new Uint8Array(end - start);
      for (let at = 0; at < bytes.length;) {
        const { bytesRead } = await handle.read(bytes, at, bytes.length - at, start + at);
        if (bytesRead === 0) throw new Error("the file became shorter while it was read");
        at += bytesRead;
      }
      return bytes.buffer;
    },
  };
}

/** The library's decompressors, which allocate what a page header claims. */
const bounded = Object.fromEntries(
  Object.entries(compressors).map(([codec, decompress]) => [
    codec,
    (input: Uint8Array, length: number) => {
      if (!(length >= 0 && length <= MAX_PAGE_BYTES))
        throw new Error(`a page claims ${length} bytes, above ${MAX_PAGE_BYTES}`);
      return decompress(input, length);
    },
  ]),
) as Compressors;

interface Column {
  readonly element: { readonly name: string; readonly type?: string; readonly repetition_type?: string };
  readonly children: readonly unknown[];
}

function checkColumn(columns: readonly Column[], name: string, path: string): void {
  const isText = ({ element, children }: Column): boolean =>
    children.length === 0 && element.type === "BYTE_ARRAY" && element.repetition_type !== "REPEATED";
  const found = columns.find(({ element }) => element.name === name);
  if (found !== undefined && isText(found)) return;
  const names = columns.filter(isText).map(({ element }) => element.name);
  const listed =
    names.length === 0
      ? "it has no column of text"
      : `its columns of text are ${names.slice(0, MAX_LISTED).join(", ")}${names.length > MAX_LISTED ? ", ..." : ""}`;
  const what = found === undefined ? "has no column" : "has no text in its column";
  const advice = names.length === 0 || names.includes(DEFAULT_TEXT_COLUMN) ? "" : "; name one of them";
  throw new Refusal(`${path} ${what} ${name}: ${listed}${advice}.`);
}

function textOf(value: unknown, row: number, column: string, path: string): string {
  if (typeof value === "string") return value;
  if (value === null || value === undefined) return "";
  throw new Refusal(`Row ${row} of ${path} has no text in its column ${column}.`);
}

function messageOf(error: unknown, path: string): string {
  if (error instanceof Refusal) return error.message;
  const reason = error instanceof Error ? error.message : String(error);
  return `${path} cannot be read as parquet (${reason}); it is damaged or of a kind that is not supported, make or download it again.`;
}

function send(reply: ParquetReply): Promise<void> {
  return new Promise((resolve, reject) => {
    // Waiting until it is taken keeps one row group in memory, not all.
    process.send?.(reply, undefined, undefined, (error) => (error ? reject(error) : resolve()));
  });
}
