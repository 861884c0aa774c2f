import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../src/checkpoints/open.js";
import { encodeSafetensors, type TensorToWrite } from "../../src/checkpoints/safetensors/encode.js";
import { openSafetensors } from "../../src/checkpoints/safetensors/file.js";
import { blobFiles, bytesSource } from "../../src/checkpoints/sources.js";
import type { ByteSource, Checkpoint } from "../../src/checkpoints/types.js";
import { openCheckpointAt } from "../../src/node/open-checkpoint-at.js";
import { writeSafetensors } from "../../src/node/write-safetensors.js";
import { asBytes } from "../../src/tensors/bytes.js";

/** A file from a header given as text, independent of the writer. */
function fileOf(header: string, data: Uint8Array): Uint8Array {
  const text = new TextEncoder().encode(header);
  const out = new Uint8Array(8 + text.length + data.length);
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true);
  out.set(text, 8);
  out.set(data, 8 + text.length);
  return out;
}

const entry = (dtype: string, shape: unknown, begin: number, end: number): unknown => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});
const f32 = (...values: number[]): Uint8Array => asBytes(Float32Array.from(values));

const TENSORS: TensorToWrite[] = [
  { name: "bytes", dtype: "U8", shape: [3], data: Uint8Array.of(1, 2, 255) },
  {
    name: "halves",
    dtype: "F16",
    shape: [2, 2],
    data: asBytes(Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x7bff)),
  },
  { name: "matrix", dtype: "F32", shape: [3, 2], data: () => Promise.resolve(f32(1, 2, 3, 4, 5, 6)) },
  { name: "long", dtype: "I64", shape: [2], data: asBytes(BigInt64Array.of(-5n, 16777216n)) },
  { name: "brains", dtype: "BF16", shape: [2], data: asBytes(Uint16Array.of(0x3f80, 0xc000)) },
  { name: "small", dtype: "I8", shape: [2], data: asBytes(Int8Array.of(-128, 127)) },
  { name: "ints", dtype: "I32", shape: [1, 2], data: asBytes(Int32Array.of(-7, 8)) },
  { name: "scalar", dtype: "F32", shape: [], data: f32(0.5) },
  { name: "empty", dtype: "F32", shape: [0, 4], data: new Uint8Array(0) },
];

const VALUES: Record<string, number[]> = {
  bytes: [1, 2, 255],
  halves: [1, -2, 2 ** -24, 65504],
  matrix: [1, 2, 3, 4, 5, 6],
  long: [-5, 16777216],
  brains: [1, -2],
  small: [-128, 127],
  ints: [-7, 8],
  scalar: [0.5],
  empty: [],
};

async function expectValues(checkpoint: Pick<Checkpoint, "readF32">): Promise<void> {
  for (const [name, values] of Object.entries(VALUES))
    expect([...(await checkpoint.readF32(name))], name).toEqual(values);
}

describe("safetensors", () => {
  it("reads a file written by hand: names, dtypes, shapes, metadata, values, rows", async () => {
    const header = {
      __metadata__: { format: "pt" },
      b: entry("F32", [2, 2], 4, 20),
      a: entry("F16", [2], 0, 4),
    };
    const data = new Uint8Array([...asBytes(Uint16Array.of(0x3c00, 0x4000)), ...f32(1, 2, 3, 4)]);
    const file = await openSafetensors(bytesSource(fileOf(JSON.stringify(header), data), "hand.safetensors"));
    expect([...file.tensors.values()]).toEqual([
      { name: "a", dtype: "F16", shape: [2], bytes: 4, file: "hand.safetensors", offset: 149 },
      { name: "b", dtype: "F32", shape: [2, 2], bytes: 16, file: "hand.safetensors", offset: 153 },
    ]);
    expect(file.metadata).toEqual({ format: "pt" });
    expect([...(await file.readF32("b", { begin: 1, end: 2 }))]).toEqual([3, 4]);
    expect([...(await file.readRaw("a", { begin: 1, end: 2 }))]).toEqual([0x00, 0x40]);
    await expect(file.readF32("b", { begin: 1, end: 3 })).rejects.toMatchObject({ code: "usage" });
    await expect(file.readF32("c")).rejects.toMatchObject({ code: "input" });
  });

  it("reads back every dtype that it writes, each tensor at a multiple of its element size", async () => {
    const bytes = await encodeSafetensors(TENSORS, { metadata: { format: "pt" } });
    await expectValues(await openSafetensors(bytesSource(bytes, "all.safetensors")));
    const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    expect(headerBytes % 8).toBe(0);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes))) as Record<
      string,
      { dtype: string; data_offsets: number[] }
    >;
    expect(Object.keys(header)).toEqual([
      "__metadata__",
      "long",
      "matrix",
      "ints",
      "scalar",
      "empty",
      "halves",
      "brains",
      "bytes",
      "small",
    ]);
    const size: Record<string, number> = { F32: 4, I32: 4, I64: 8, F16: 2, BF16: 2, U8: 1, I8: 1 };
    for (const { dtype, data_offsets } of Object.values(header).slice(1))
      expect(data_offsets[0] % size[dtype]).toBe(0);
    expect(await encodeSafetensors(TENSORS, { metadata: { format: "pt" } })).toEqual(bytes);
  });

  it("reads only what was asked: rows of a tensor that claims more than memory", async () => {
    const rows = 2 ** 33;
    const header = new TextEncoder().encode(JSON.stringify({ big: entry("F32", [rows, 4], 0, rows * 16) }));
    const source: ByteSource = {
      name: "big.safetensors",
      sizeBytes: 8 + header.length + rows * 16,
      read: (offset, length) => {
        if (length > 1000) throw new Error("too much was read");
        const out = new Uint8Array(length);
        if (offset === 0) new DataView(out.buffer).setBigUint64(0, BigInt(header.length), true);
        else if (offset === 8) out.set(header);
        else new DataView(out.buffer).setFloat32(0, (offset - 8 - header.length) / 16, true);
        return Promise.resolve(out);
      },
      close: () => Promise.resolve(),
    };
    const file = await openSafetensors(source);
    expect((await file.readF32("big", { begin: 2 ** 24, end: 2 ** 24 + 1 }))[0]).toBe(2 ** 24);
  });

  it("refuses integers that f32 does not hold", async () => {
    const bytes = await encodeSafetensors([
      { name: "i", dtype: "I64", shape: [1], data: asBytes(BigInt64Array.of(2n ** 53n + 1n)) },
    ]);
    const bad = await encodeSafetensors([
      { name: "i", dtype: "I32", shape: [1], data: asBytes(Int32Array.of(2 ** 24 + 1)) },
    ]);
    const file = await openSafetensors(bytesSource(bad, "x"));
    await expect(file.readF32("i")).rejects.toMatchObject({ code: "input" });
    expect((await (await openSafetensors(bytesSource(bytes, "y"))).readRaw("i"))[0]).toBe(1);
  });

  it("lists tensors of dtypes that are not read as unreadable, and says so when one is asked for", async () => {
    const header = { d: entry("F64", [1], 0, 8), m: entry("BOOL", [2], 8, 10), n: entry("NEW", [7], 10, 12) };
    const file = await openSafetensors(bytesSource(fileOf(JSON.stringify(header), new Uint8Array(12)), "x"));
    expect(file.tensors.size).toBe(0);
    expect([...file.unreadable]).toEqual([
      ["d", "F64"],
      ["m", "BOOL"],
      ["n", "NEW"],
    ]);
    await expect(file.readF32("d")).rejects.toMatchObject({
      code: "input",
      message: expect.stringContaining("F64") as string,
    });
  });
});

describe("bad safetensors headers", () => {
  const claim = (bytes: bigint): Uint8Array => {
    const out = new Uint8Array(100);
    new DataView(out.buffer).setBigUint64(0, bytes, true);
    return out;
  };
  const json = (header: unknown, dataBytes = 16): Uint8Array =>
    fileOf(JSON.stringify(header), new Uint8Array(dataBytes));
  const cases: [string, Uint8Array, RegExp][] = [
    ["nothing", new Uint8Array(0), /too few/],
    ["a header of 2^60 bytes", claim(2n ** 60n), /claims a header of 1152921504606846976 bytes/],
    ["a header beyond the file", claim(93n), /has only 100 bytes/],
    ["no JSON", fileOf("{oops", new Uint8Array(0)), /not valid JSON/],
    ["no object", fileOf("[1,2,3,4]", new Uint8Array(0)), /does not begin with/],
    ["no UTF-8", new Uint8Array([4, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0xff, 0xfe, 0x7d]), /not UTF-8/],
    [
      "a key twice",
      fileOf(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        new Uint8Array(2),
      ),
      /lists "a" twice/,
    ],
    [
      "a key of an entry twice",
      fileOf('{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', new Uint8Array(1)),
      /lists "dtype" twice/,
    ],
    [
      "__proto__",
      fileOf('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', new Uint8Array(1)),
      /not accepted/,
    ],
    [
      "a size that does not fit the shape",
      json({ a: entry("F32", [3], 0, 16) }),
      /take 12 bytes, but 16 are stored/,
    ],
    ["a negative dimension", json({ a: entry("F32", [-4], 0, 16) }), /impossible shape/],
    ["a product beyond 2^53", json({ a: entry("F32", [2 ** 40, 2 ** 40], 0, 16) }), /impossible shape/],
    ["a fractional dimension", json({ a: entry("F32", [2.5], 0, 10) }), /impossible shape/],
    ["offsets in reverse", json({ a: entry("F32", [4], 16, 0) }), /impossible data_offsets/],
    ["an offset beyond the end", json({ a: entry("U8", [32], 0, 32) }), /end at byte/],
    ["overlap", json({ a: entry("U8", [10], 0, 10), b: entry("U8", [10], 6, 16) }), /overlaps/],
    ["a gap", json({ a: entry("U8", [4], 0, 4), b: entry("U8", [8], 8, 16) }), /leaves a gap/],
    ["bytes of no tensor", json({ a: entry("U8", [4], 0, 4) }), /end at byte/],
    ["an entry that is no object", json({ a: 5 }), /not an object/],
    ["an entry without shape", json({ a: { dtype: "F32", data_offsets: [0, 16] } }), /lacks a dtype/],
    [
      "metadata that is no text",
      json({ __metadata__: { a: 1 }, b: entry("U8", [16], 0, 16) }),
      /__metadata__/,
    ],
  ];
  it.each(cases)("%s: one clear input error", async (_, bytes, message) => {
    const begin = performance.now();
    const opening = openSafetensors(bytesSource(bytes, "bad.safetensors"));
    await expect(opening).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(message) as string,
    });
    expect(performance.now() - begin).toBeLessThan(200);
  });
});

describe("folders of safetensors", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "subbit-core-"));
    await writeFile(join(dir, "config.json"), '{"model_type":"llama"}');
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));
  const index = (weightMap: Record<string, string>): Promise<void> =>
    writeFile(
      join(dir, "model.safetensors.index.json"),
      JSON.stringify({ metadata: {}, weight_map: weightMap }),
    );

  it("writes one file and reads it back, config and side files too", async () => {
    const written = await writeSafetensors(join(dir, "model.safetensors"), TENSORS);
    expect(written.files).toEqual(["model.safetensors"]);
    const bytes = await readFile(join(dir, "model.safetensors"));
    expect(new Uint8Array(bytes)).toEqual(await encodeSafetensors(TENSORS));
    const checkpoint = await openCheckpointAt(dir);
    expect(checkpoint).toMatchObject({
      format: "safetensors",
      fileBytes: bytes.length,
      config: { model_type: "llama" },
    });
    await expectValues(checkpoint);
    expect(await checkpoint.readText("config.json")).toBe('{"model_type":"llama"}');
    expect(await checkpoint.readText("tokenizer.json")).toBeUndefined();
    expect(await checkpoint.readText("../config.json")).toBeUndefined();
    await checkpoint.close();
  });

  it("writes shards with an index above the limit and reads them as one checkpoint", async () => {
    const seen: number[] = [];
    const { files, fileBytes } = await writeSafetensors(join(dir, "model.safetensors"), TENSORS, {
      maxShardBytes: 30,
      onProgress: ({ done }) => seen.push(done),
    });
    expect(files.slice(0, 2)).toEqual([
      "model-00001-of-00004.safetensors",
      "model-00002-of-00004.safetensors",
    ]);
    expect(files.at(-1)).toBe("model.safetensors.index.json");
    expect(seen.at(-1)).toBe(69);
    const parsed = JSON.parse(await readFile(join(dir, files.at(-1)!), "utf8")) as {
      metadata: unknown;
      weight_map: Record<string, string>;
    };
    expect(parsed.metadata).toEqual({ total_size: 69 });
    expect(Object.keys(parsed.weight_map)).toEqual(Object.keys(VALUES).sort());
    const checkpoint = await openCheckpointAt(dir);
    expect(checkpoint.fileBytes).toBe(fileBytes);
    await expectValues(checkpoint);
    await checkpoint.close();
  });

  it("opens the same folder given as Blobs", async () => {
    await writeSafetensors(join(dir, "model.safetensors"), TENSORS, { maxShardBytes: 30 });
    const blobs = new Map<string, Blob>();
    for (const name of await readdir(dir))
      blobs.set(name, new Blob([new Uint8Array(await readFile(join(dir, name)))]));
    await expectValues(await openCheckpoint(blobFiles(blobs)));
  });

  it("leaves nothing behind when a tensor fails", async () => {
    const failing: TensorToWrite = {
      name: "late",
      dtype: "U8",
      shape: [5],
      data: () => Promise.reject(new Error("no data")),
    };
    const writing = writeSafetensors(join(dir, "model.safetensors"), [...TENSORS, failing], {
      maxShardBytes: 30,
    });
    await expect(writing).rejects.toThrow("no data");
    expect(await readdir(dir)).toEqual(["config.json"]);
    const short: TensorToWrite = { name: "short", dtype: "F32", shape: [2], data: new Uint8Array(7) };
    await expect(writeSafetensors(join(dir, "model.safetensors"), [short])).rejects.toMatchObject({
      code: "usage",
    });
    await expect(encodeSafetensors([TENSORS[0], TENSORS[0]])).rejects.toMatchObject({ code: "usage" });
    expect(await readdir(dir)).toEqual(["config.json"]);
  });

  it("says which shard is missing, and which tensor a shard lacks", async () => {
    await writeSafetensors(join(dir, "a.safetensors"), TENSORS.slice(0, 2));
    await index({ bytes: "a.safetensors", other: "b.safetensors" });
    await expect(openCheckpointAt(dir)).rejects.toMatchObject({
      code: "input",
      message: expect.stringContaining("b.safetensors") as string,
    });
    await index({ bytes: "a.safetensors", matrix: "a.safetensors" });
    await expect(openCheckpointAt(dir)).rejects.toMatchObject({
      code: "input",
      message: expect.stringContaining("tensor matrix") as string,
    });
  });

  it.each(["../a.safetensors", "/etc/passwd", "sub/a.safetensors", "..", "a\\b", "C:a"])(
    "refuses the shard name %s",
    async (name) => {
      await index({ bytes: name });
      await expect(openCheckpointAt(dir)).rejects.toMatchObject({
        code: "input",
        message: expect.stringContaining("plain file name") as string,
      });
    },
  );

  it("asks for config.json where it is missing, and says where it is broken", async () => {
    await writeSafetensors(join(dir, "model.safetensors"), TENSORS);
    for (const [content, message] of [
      ["{not json", /config.json.*not valid JSON/],
      ["[]", /config.json.*no JSON object/],
      [undefined, /no config.json/],
    ] as const) {
      await (content === undefined
        ? rm(join(dir, "config.json"))
        : writeFile(join(dir, "config.json"), content));
      await expect(openCheckpointAt(dir)).rejects.toMatchObject({
        code: "input",
        message: expect.stringMatching(message) as string,
      });
    }
  });

  it("opens a lone safetensors file, and says what is wrong with paths", async () => {
    await writeSafetensors(join(dir, "lone.safetensors"), TENSORS);
    const lone = await openCheckpointAt(join(dir, "lone.safetensors"));
    expect(lone.config).toEqual({});
    await expectValues(lone);
    await lone.close();
    await expect(openCheckpointAt(join(dir, "absent"))).rejects.toMatchObject({
      code: "input",
      message: expect.stringContaining("no folder or file") as string,
    });
    await expect(openCheckpointAt(dir)).rejects.toMatchObject({
      code: "input",
      message: expect.stringContaining("holds no weights") as string,
    });
  });
});
