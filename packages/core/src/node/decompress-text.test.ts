import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { chooseTextFormat, splitDocuments } from "../text/corpus-text.js";
import { decompressText } from "./decompress-text.js";
import { readTextFile } from "./read-corpus.js";

const folder = mkdtempSync(join(tmpdir(), "subbit-compressed-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
const block = (kind: 0 | 1, size: number, last: boolean): number[] => {
  const header = (size << 3) | (kind << 1) | (last ? 1 : 0);
  return [header & 255, (header >> 8) & 255, header >> 16];
};
/** A Zstandard frame by RFC 8878: one segment, its size in a byte, one raw block. */
const stored = (text: string): Buffer => {
  const bytes = Buffer.from(text);
  return Buffer.from([...MAGIC, 0x20, bytes.length, ...block(0, bytes.length, true), ...bytes]);
};

const lines = '{"text":"a é"}\n{"text":"b"}\n';

describe("compressed texts", () => {
  it.each([
    ["a.jsonl.gz", gzipSync(lines)],
    ["a.json.zst", stored(lines)],
  ])("%s is JSON lines", async (name, bytes) => {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    const text = await readTextFile(path);
    expect(text).toBe(lines);
    const reading = chooseTextFormat({ fileName: name, text, endTexts: [] });
    expect(splitDocuments(text, reading, name)).toEqual(["a é", "b"]);
  });

  it("may stand in several members or frames", async () => {
    const gz = Buffer.concat([gzipSync("one "), gzipSync("two")]);
    expect((await decompressText(gz, "a.gz")).toString()).toBe("one two");
  });

  it("is refused when damaged or cut off", async () => {
    const gz = gzipSync("x".repeat(5000));
    for (const [name, bytes] of [
      ["a.gz", gz.subarray(0, gz.length - 4)],
      ["a.gz", Buffer.from("plain text")],
      ["a.gz", new Uint8Array(0)],
      ["a.zst", stored(lines).subarray(0, 20)],
      ["a.zst", Buffer.from("plain text, and no frame")],
      ["a.zst", new Uint8Array(0)],
    ] as const) {
      await expect(decompressText(bytes, name), name).rejects.toThrow(/damaged/);
    }
  });

  it("is refused where a small file holds more than it may", async () => {
    await expect(decompressText(gzipSync(Buffer.alloc(100_000)), "a.gz", 10_000)).rejects.toThrow(/10000/);
    // Blocks that repeat one byte 2^17 times, behind a window descriptor of 1 MB.
    const repeated = Array.from({ length: 100 }, () => [...block(1, 2 ** 17, false), 65]).flat();
    const bomb = Buffer.from([...MAGIC, 0x00, 0x50, ...repeated]);
    await expect(decompressText(bomb, "a.zst", 1_000_000)).rejects.toThrow(/1000000/);
  });
});

describe("a field of JSON lines", () => {
  it("may be named, and must be there", () => {
    const choose = (fileName: string) =>
      chooseTextFormat({ fileName, text: "", endTexts: [], textColumn: "content" });
    const reading = choose("a.jsonl");
    expect(splitDocuments('{"content":"a"}', reading, "a.jsonl")).toEqual(["a"]);
    expect(() => splitDocuments('{"text":"a"}', reading, "a.jsonl")).toThrow(/no string field "content"/);
    // Other texts of the same run may have no fields.
    expect(choose("a.txt")).toEqual({ format: "plain", jsonLines: false });
  });
});
