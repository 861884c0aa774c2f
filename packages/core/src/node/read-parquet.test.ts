import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { parquetWriteBuffer } from "hyparquet-writer";
import { afterAll, describe, expect, it } from "vitest";
import { SubbitError } from "../errors.js";
import type { Tokenizer } from "../text/types.js";
import { readCorpus } from "./read-corpus.js";
import { readParquetTexts } from "./read-parquet.js";

const folder = mkdtempSync(join(tmpdir(), "subbit-parquet-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function saved(bytes: Uint8Array | ArrayBuffer): string {
  const path = join(folder, `${files++}.parquet`);
  writeFileSync(path, new Uint8Array(bytes));
  return path;
}

/** A Zstandard frame by RFC 8878 without compression: one segment, its size in four bytes, one raw block below 128 KB. */
function storedZstd(bytes: Uint8Array): Uint8Array {
  const head = Buffer.alloc(12);
  head.set([0x28, 0xb5, 0x2f, 0xfd, 0xa0]);
  head.writeUInt32LE(bytes.length, 5);
  head.writeUIntLE((bytes.length << 3) | 1, 9, 3);
  return new Uint8Array(Buffer.concat([head, bytes]));
}

const texts = Array.from({ length: 500 }, (_, i) => (i % 7 === 3 ? null : `text ${i % 11} é\n`));
const expected = texts.map((text) => text ?? "");
const columns = [
  { name: "id", data: texts.map((_, i) => i), type: "INT32" as const },
  { name: "text", data: texts, type: "STRING" as const },
  { name: "title", data: texts.map((_, i) => `t${i}`), type: "STRING" as const },
];

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SubbitError);
  expect((error as SubbitError).code).toBe("input");
  return (error as SubbitError).message;
}

describe("readParquetTexts", () => {
  it.each([
    ["SNAPPY", undefined],
    ["UNCOMPRESSED", undefined],
    ["GZIP", { GZIP: (bytes: Uint8Array) => new Uint8Array(gzipSync(bytes)) }],
    ["BROTLI", { BROTLI: (bytes: Uint8Array) => new Uint8Array(brotliCompressSync(bytes)) }],
    ["ZSTD", { ZSTD: storedZstd }],
  ] as const)("gives one text a row over several row groups, %s", async (codec, compressors) => {
    const path = saved(
      parquetWriteBuffer({
        columnData: columns,
        codec,
        rowGroupSize: 120,
        ...(compressors && { compressors }),
      }),
    );
    expect(await readParquetTexts(path)).toEqual(expected);
    expect((await readParquetTexts(path, { column: "title" })).slice(0, 2)).toEqual(["t0", "t1"]);
  });

  it("names the columns there are", async () => {
    const path = saved(parquetWriteBuffer({ columnData: columns }));
    expect(await refusal(readParquetTexts(path, { column: "body" }))).toMatch(/no column body.*text, title/);
    expect(await refusal(readParquetTexts(path, { column: "id" }))).toMatch(/no text in its column id/);
    expect(await refusal(readParquetTexts(join(folder, "none.parquet")))).toMatch(/no such file/);
  });

  it("bounds the text that it takes", async () => {
    const path = saved(parquetWriteBuffer({ columnData: columns }));
    expect(await refusal(readParquetTexts(path, { maxCharacters: 1000 }))).toMatch(/1000 characters/);
  });

  it("refuses what is cut off or no parquet at all", async () => {
    const whole = new Uint8Array(parquetWriteBuffer({ columnData: columns }));
    for (const bytes of [
      new Uint8Array(0),
      Buffer.from("{}"),
      whole.subarray(0, whole.length - 1),
      whole.subarray(200),
    ]) {
      expect(await refusal(readParquetTexts(saved(bytes)))).toMatch(/damaged/);
    }
  });

  it("survives counts that fill the memory or take forever", async () => {
    const footer = (metadata: number[]): Buffer => {
      const tail = Buffer.alloc(8);
      tail.writeUInt32LE(metadata.length);
      tail.write("PAR1", 4);
      return Buffer.concat([Buffer.from("PAR1"), Buffer.from(metadata), tail]);
    };
    // Field 2 is a list of 2^24 lists of 2^24 lists ... : 128 MB of empty places at each of 64 depths.
    const nested = [0x29, ...Array.from({ length: 64 }, () => [0xf9, 0x80, 0x80, 0x80, 0x08]).flat()];
    expect(await refusal(readParquetTexts(saved(footer(nested)), { maxHeapMegabytes: 64 }))).toMatch(/64 MB/);
    // One 64-bit number of four million digits of seven bits; no process answers within the limit.
    const endless = [0x36, ...new Array<number>(4_000_000).fill(0x80), 0];
    const slow = readParquetTexts(saved(footer(endless)), { maxSilentSeconds: 0.02 });
    expect(await refusal(slow)).toMatch(/within 0.02 seconds/);
  });

  it("stops when the signal fires", async () => {
    const path = saved(parquetWriteBuffer({ columnData: columns }));
    const controller = new AbortController();
    const reading = readParquetTexts(path, { signal: controller.signal });
    controller.abort();
    await expect(reading).rejects.toMatchObject({ code: "interrupted" });
  });
});

describe("readCorpus", () => {
  const tokenizer: Tokenizer = {
    vocabSize: 300,
    bosId: 299,
    eosId: 298,
    stopIds: new Set(),
    encode: (text) => [...Buffer.from(text)],
    decode: (ids) => ids.map((id) => (id > 255 ? `<${id}>` : String.fromCharCode(id))).join(""),
    renderChat: () => undefined,
  };

  it("reads parquet as the documents that the same JSON lines give", async () => {
    const path = saved(parquetWriteBuffer({ columnData: columns }));
    const lines = join(folder, "same.jsonl");
    writeFileSync(lines, expected.map((text) => JSON.stringify({ text })).join("\n"));
    const corpus = await readCorpus(path, tokenizer);
    expect(corpus).toMatchObject({ format: "documents", documents: texts.filter((text) => text).length });
    expect(corpus.ids).toEqual((await readCorpus(lines, tokenizer)).ids);
    const other = await readCorpus(path, tokenizer, { textColumn: "title" });
    expect([...other.ids.subarray(0, 4)]).toEqual([299, ..."t0".split("").map((c) => c.charCodeAt(0)), 299]);
  });

  it("reads parquet as rows, joined as they are", async () => {
    const path = saved(parquetWriteBuffer({ columnData: columns }));
    const corpus = await readCorpus(path, tokenizer, { format: "rows" });
    expect(Buffer.from(corpus.ids).toString()).toBe(expected.join("\n\n"));
    await expect(readCorpus(path, tokenizer, { format: "plain" })).rejects.toThrow(/documents or rows/);
    await expect(readCorpus(path, tokenizer, { separator: "|" })).rejects.toThrow(/drop the separator/);
  });
});
