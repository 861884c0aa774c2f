import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InvalidArgumentError } from "commander";
import { expect, it } from "vitest";
import { parseDataSource } from "./data.js";

it("reads files and self-generated tokens with their weights", () => {
  expect(parseDataSource("a.txt")).toEqual({ kind: "file", path: "a.txt" });
  expect(parseDataSource("dir/a.parquet:0.25")).toEqual({
    kind: "file",
    path: "dir/a.parquet",
    weight: 0.25,
  });
  expect(parseDataSource("C:\\texts\\a.txt")).toEqual({ kind: "file", path: "C:\\texts\\a.txt" });
  expect(parseDataSource("C:\\texts\\a.txt:2")).toEqual({
    kind: "file",
    path: "C:\\texts\\a.txt",
    weight: 2,
  });
  expect(parseDataSource("self:200000")).toEqual({ kind: "self", tokens: 200_000 });
  expect(parseDataSource("self:5000:3")).toEqual({ kind: "self", tokens: 5000, weight: 3 });
});

it("refuses weights and counts that are none", () => {
  for (const bad of [
    "",
    "a.txt:",
    "a.txt:0",
    "a.txt:-1",
    "a.txt:x",
    "self:",
    "self:x",
    "self:0",
    "self:10:0",
  ]) {
    expect(() => parseDataSource(bad), bad).toThrow(InvalidArgumentError);
  }
});

it.skipIf(process.platform === "win32")("takes a name with a colon for the file that it names", () => {
  const folder = mkdtempSync(join(tmpdir(), "subbit-data-"));
  const path = join(folder, "a:2");
  writeFileSync(path, "text");
  expect(parseDataSource(path)).toEqual({ kind: "file", path });
  rmSync(folder, { recursive: true });
});
