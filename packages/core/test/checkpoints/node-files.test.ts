import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fileSource, folderFiles } from "../../src/node/file-source.js";
import { hashFile } from "../../src/node/hash-file.js";

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "subbit-files-"));
  await writeFile(join(dir, "abc.bin"), "abc");
  await mkdir(join(dir, "sub"));
  await writeFile(join(dir, "sub", "inner.bin"), "inner");
});
afterAll(() => rm(dir, { recursive: true, force: true }));

describe("local files", () => {
  it("reads ranges and refuses those beyond the end", async () => {
    const source = await fileSource(join(dir, "abc.bin"));
    expect(source).toMatchObject({ name: "abc.bin", sizeBytes: 3 });
    expect([...(await source.read(1, 2))]).toEqual([98, 99]);
    await expect(source.read(2, 2)).rejects.toMatchObject({ code: "input" });
    await source.close();
  });

  it("opens plain names of its own folder only", async () => {
    const files = folderFiles(join(dir, "sub"));
    expect(await files.list()).toEqual(["inner.bin"]);
    for (const name of ["../abc.bin", join(dir, "abc.bin"), "..", ".", "", "absent", "a\u0000b"]) {
      expect(await files.open(name), name).toBeUndefined();
    }
    expect(await folderFiles(dir).open("sub")).toBeUndefined();
    await expect(folderFiles(join(dir, "absent")).list()).rejects.toMatchObject({ code: "input" });
  });

  it("follows links, behind which the Hugging Face cache keeps its files", async () => {
    await symlink(join(dir, "abc.bin"), join(dir, "sub", "link.bin"));
    const source = await folderFiles(join(dir, "sub")).open("link.bin");
    expect(source?.sizeBytes).toBe(3);
    await source?.close();
    await rm(join(dir, "sub", "link.bin"));
  });

  it("refuses what is no file", async () => {
    await expect(fileSource(join(dir, "absent"))).rejects.toMatchObject({ code: "input" });
    await expect(fileSource(dir)).rejects.toMatchObject({ code: "input" });
  });
});

describe("hashFile", () => {
  it("gives the published sha256 of abc and of a million a, with progress to the end", async () => {
    expect(await hashFile(join(dir, "abc.bin"))).toBe(
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
    await writeFile(join(dir, "a.bin"), "a".repeat(1_000_000));
    const done: number[] = [];
    const hash = await hashFile(join(dir, "a.bin"), (event) => done.push(event.done));
    expect(hash).toBe("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    expect(done.at(-1)).toBe(1_000_000);
  });

  it("stops when told to", async () => {
    const hashing = hashFile(join(dir, "abc.bin"), undefined, { signal: AbortSignal.abort() });
    await expect(hashing).rejects.toMatchObject({ code: "interrupted" });
  });
});
