/** Torch files: tensors of every dtype and stride, and pickles that ask for more than tensors. */
import { describe, expect, it } from "vitest";
import { SubbitError } from "../../src/errors.js";
import { openCheckpoint } from "../../src/checkpoints/open.js";
import { encodeStateDict } from "../../src/checkpoints/pickle/encode.js";
import { readPickle } from "../../src/checkpoints/pickle/machine.js";
import { encodeSafetensors, type TensorToWrite } from "../../src/checkpoints/safetensors/encode.js";
import { bytesSource } from "../../src/checkpoints/sources.js";
import type { Checkpoint } from "../../src/checkpoints/types.js";
import { encodePickle, openFolder } from "../planned-folders.js";
import { seededRandom } from "../shared-fixtures.js";

const bytesOf = (length: number): Uint8Array =>
  Uint8Array.from({ length }, () => Math.floor(Math.random() * 256));
const text = (value: string): number[] => [...new TextEncoder().encode(value)];

const TENSORS: readonly TensorToWrite[] = [
  { name: "a", dtype: "F32", shape: [3, 5], data: bytesOf(60) },
  { name: "b", dtype: "F16", shape: [7], data: bytesOf(14) },
  { name: "c", dtype: "BF16", shape: [2, 1, 3], data: bytesOf(12) },
  { name: "d", dtype: "I8", shape: [4, 2], data: bytesOf(8) },
  { name: "e", dtype: "U8", shape: [9], data: bytesOf(9) },
  { name: "f", dtype: "I32", shape: [2, 2], data: bytesOf(16) },
  { name: "g", dtype: "I64", shape: [], data: bytesOf(8) },
  { name: "h", dtype: "F32", shape: [0, 4], data: new Uint8Array() },
];

function openBytes(bytes: Uint8Array, name = "weights.pt"): Promise<Checkpoint> {
  return openCheckpoint(bytesSource(bytes, name));
}

describe("a torch file", () => {
  it("gives back tensors of every dtype, and some of their rows", async () => {
    const checkpoint = await openBytes(await encodePickle(TENSORS));
    expect(checkpoint.format).toBe("pickle");
    expect([...checkpoint.tensors.keys()].sort()).toEqual(TENSORS.map(({ name }) => name));
    for (const { name, dtype, shape, data } of TENSORS) {
      expect(checkpoint.tensors.get(name)).toMatchObject({ dtype, shape });
      expect(await checkpoint.readRaw(name)).toEqual(data);
    }
    expect(await checkpoint.readRaw("a", { begin: 1, end: 3 })).toEqual(
      (TENSORS[0].data as Uint8Array).slice(20),
    );
    const { offset, bytes } = checkpoint.tensors.get("f")!;
    const there = new Uint8Array(bytes);
    await checkpoint.readFile!("weights.pt", offset, there);
    expect(there).toEqual(TENSORS[5].data);
  });

  it("is written to the same bytes each time", async () => {
    expect(await encodePickle(TENSORS)).toEqual(await encodePickle(TENSORS));
  });

  it("is found in a folder under its usual names, after safetensors", async () => {
    const config = new TextEncoder().encode("{}");
    const pickle = await encodePickle([TENSORS[0]]);
    const optimizer = await encodePickle([TENSORS[1]]);
    for (const name of ["pytorch_model.bin", "checkpoint.pt", "anything.pth"]) {
      const folder = await openFolder(
        new Map([
          [name, pickle],
          ["optimizer.pt", optimizer],
          ["config.json", config],
        ]),
      );
      expect([...folder.tensors.keys()]).toEqual(["a"]);
    }
    const both = await openFolder(
      new Map([
        ["checkpoint.pt", pickle],
        ["checkpoint.safetensors", await encodeSafetensors([TENSORS[1]])],
        ["config.json", config],
      ]),
    );
    expect([...both.tensors.keys()]).toEqual(["b"]);
    await expect(
      openFolder(
        new Map([
          ["one.pt", pickle],
          ["two.pt", pickle],
        ]),
      ),
    ).rejects.toThrow(/2 weight files/);
    await expect(openFolder(new Map([["checkpoint.pt", pickle]]))).rejects.toThrow(/no config.json/);
  });
});

/** The pickle of tensor `a` alone with `edit`ed numbers, beside a storage of six f32. */
async function viewOf(
  shape: readonly number[],
  strides: readonly number[],
  offset = 0,
  stored = 6,
): Promise<Uint8Array> {
  const declared = {
    name: "a",
    dtype: "F32" as const,
    shape: [stored],
    data: new Uint8Array(new Float32Array(Array.from({ length: stored }, (_, i) => i)).buffer),
  };
  const whole = await encodePickle([declared]);
  const pickle = stateDict([{ shape, strides, offset, count: stored }]);
  return replacePickle(whole, pickle);
}

interface View {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
  readonly count: number;
}

const integer = (value: number): number[] => [
  0x8a,
  8,
  ...new Uint8Array(BigInt64Array.of(BigInt(value)).buffer),
];
const string = (value: string): number[] => [0x8c, value.length, ...text(value)];
const tuple = (...items: number[][]): number[] => [0x28, ...items.flat(), 0x74];
const global = (module: string, name: string): number[] => [0x63, ...text(`${module}\n${name}\n`)];

/** By hand, in other opcodes than the writer uses. */
function stateDict(views: readonly View[]): Uint8Array {
  const entries = views.flatMap(({ shape, strides, offset, count }, i) => [
    ...string(String.fromCharCode(97 + i)),
    ...string("torch._utils"),
    ...string("_rebuild_tensor_v2"),
    0x93,
    ...tuple(
      [
        ...tuple(
          string("storage"),
          global("torch", "FloatStorage"),
          string(String(i)),
          string("cpu"),
          integer(count),
        ),
        0x51,
      ],
      integer(offset),
      tuple(...shape.map(integer)),
      tuple(...strides.map(integer)),
      [0x89],
      [0x7d],
    ),
    0x52,
  ]);
  return Uint8Array.from([0x80, 4, 0x7d, 0x28, ...entries, 0x75, 0x2e]);
}

/** A zip file of the same storages around another pickle: written again by hand, without checksums. */
function replacePickle(archive: Uint8Array, pickle: Uint8Array): Uint8Array {
  const view = new DataView(archive.buffer, archive.byteOffset, archive.byteLength);
  const entries: { name: string; data: Uint8Array }[] = [];
  // The directory: 22 bytes of end record, which says where it begins.
  let at = view.getUint32(archive.length - 6, true);
  const count = view.getUint16(archive.length - 12, true);
  for (let i = 0; i < count; i++) {
    const nameLength = view.getUint16(at + 28, true);
    const name = new TextDecoder().decode(archive.subarray(at + 46, at + 46 + nameLength));
    const header = view.getUint32(at + 42, true);
    const data = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
    entries.push({
      name,
      data: name.endsWith("data.pkl") ? pickle : archive.slice(data, data + view.getUint32(at + 24, true)),
    });
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return zipOf(entries);
}

function zipOf(entries: readonly { name: string; data: Uint8Array; method?: number }[]): Uint8Array {
  const out: number[] = [];
  const directory: number[] = [];
  const u16 = (value: number): number[] => [value & 255, value >>> 8];
  const u32 = (value: number): number[] => [...u16(value & 0xffff), ...u16(value >>> 16)];
  for (const { name, data, method = 0 } of entries) {
    const shared = [
      ...u16(10),
      ...u16(0),
      ...u16(method),
      ...u32(0),
      ...u32(0),
      ...u32(data.length),
      ...u32(data.length),
      ...u16(name.length),
      ...u16(0),
    ];
    directory.push(
      ...u32(0x02014b50),
      ...u16(10),
      ...shared,
      ...u16(0),
      ...u16(0),
      ...u16(0),
      ...u32(0),
      ...u32(out.length),
      ...text(name),
    );
    out.push(...u32(0x04034b50), ...shared, ...text(name), ...data);
  }
  const begin = out.length;
  return Uint8Array.from([
    ...out,
    ...directory,
    ...u32(0x06054b50),
    ...u32(0),
    ...u16(entries.length),
    ...u16(entries.length),
    ...u32(directory.length),
    ...u32(begin),
    ...u16(0),
  ]);
}

describe("views of a storage", () => {
  it.each([
    ["a transposed matrix", [3, 2], [1, 3], 0, [0, 3, 1, 4, 2, 5]],
    ["every other element", [3], [2], 1, [1, 3, 5]],
    ["a part of it", [2, 2], [2, 1], 1, [1, 2, 3, 4]],
  ])("%s", async (_, shape, strides, offset, want) => {
    const checkpoint = await openBytes(await viewOf(shape, strides, offset));
    expect([...(await checkpoint.readF32("a"))]).toEqual(want);
    const width = want.length / shape[0];
    expect([...(await checkpoint.readF32("a", { begin: 1, end: 2 }))]).toEqual(want.slice(width, 2 * width));
    // Its bytes in the file are its values only where it lies row by row.
    expect(checkpoint.readFile === undefined).toBe(offset !== 1 || shape.length === 1);
  });

  it.each([
    ["beyond the storage", [7], [1], 0],
    ["beyond it by its offset", [6], [1], 1],
    ["beyond it by its strides", [2], [6], 0],
    ["of more elements than there are", [1000000, 1000000], [0, 0], 0],
    ["of an overflowing shape", [2 ** 40, 2 ** 40], [1, 1], 0],
    ["of a negative size", [-1], [1], 0],
  ])("%s are refused", async (_, shape, strides, offset) => {
    await expect(openBytes(await viewOf(shape, strides, offset))).rejects.toThrow(/damaged/);
  });
});

describe("a pickle that asks for more than tensors is refused, and nothing of it is run", () => {
  const reduce = (module: string, name: string): number[] => [
    0x80,
    2,
    ...global(module, name),
    ...tuple(string("echo")),
    0x52,
    0x2e,
  ];
  it.each([
    ["a shell", reduce("os", "system"), /os\.system/],
    ["a shell under another name", reduce("posix", "system"), /posix\.system/],
    ["evaluation", reduce("builtins", "eval"), /builtins\.eval/],
    ["a loader", reduce("torch.serialization", "load"), /torch\.serialization\.load/],
    [
      "attributes by dots",
      [0x80, 4, ...string("torch._utils"), ...string("_rebuild_tensor_v2.__globals__"), 0x93, 0x2e],
      /__globals__/,
    ],
    ["an object's class", [0x80, 2, 0x28, ...text("ios\nsystem\n"), 0x2e], /opcode 0x69/],
    ["a new object", [0x80, 2, ...global("collections", "OrderedDict"), 0x29, 0x81, 0x2e], /opcode 0x81/],
    ["an extension", [0x80, 2, 0x82, 1, 0x2e], /opcode 0x82/],
    ["a call of a dict", [0x80, 2, 0x7d, 0x29, 0x52, 0x2e], /no function/],
    ["state for a tensor's list", [0x80, 2, 0x5d, 0x7d, 0x62, 0x2e], /sets the state of a list/],
    ["an id that is no storage", [0x80, 2, ...string("file"), 0x51, 0x2e], /no storage/],
    ["a value it never made", [0x80, 2, 0x68, 7, 0x2e], /never made/],
    ["more values than it made", [0x80, 2, 0x86, 0x2e], /more values than it made/],
    ["a mark it never set", [0x80, 2, 0x74, 0x2e], /no mark/],
    ["text longer than the file", [0x80, 2, 0x58, 0xff, 0xff, 0xff, 0xff, 0x2e], /truncated/],
    ["text of 2^63 bytes", [0x80, 4, 0x8d, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x2e], /truncated/],
    ["a number of 255 bytes", [0x80, 2, 0x8a, 255, ...new Array<number>(255).fill(1), 0x2e], /255 bytes/],
    ["no end", [0x80, 2, 0x7d], /truncated/],
    [
      "a tensor twice",
      [0x80, 2, 0x7d, ...string("a"), 0x4e, 0x73, ...string("a"), 0x4e, 0x73, 0x2e],
      /twice/,
    ],
  ])("%s", (_, bytes, reason) => {
    let error: unknown;
    try {
      readPickle(Uint8Array.from(bytes), "bad.pt");
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(SubbitError);
    expect((error as SubbitError).code).toBe("input");
    expect((error as SubbitError).message).toMatch(reason);
  });

  it("lists within lists that would be 2^40 values written out take no more than their bytes", () => {
    // Each list holds the one before it twice.
    const doubled = Array.from({ length: 40 }, (_, i) => [
      0x5d,
      0x28,
      0x68,
      i,
      0x68,
      i,
      0x65,
      0x71,
      i + 1,
    ]).flat();
    expect(readPickle(Uint8Array.from([0x80, 2, 0x5d, 0x71, 0, ...doubled, 0x2e]), "bomb.pt")).toMatchObject({
      kind: "list",
    });
  });
});

describe("a file that is no torch file is refused", () => {
  const pickle = encodeStateDict([{ name: "a", dtype: "F32", shape: [2] }]);
  it.each([
    ["empty", new Uint8Array(), /no readable zip file/],
    ["a bare pickle, torch's old format", pickle, /old format/],
    ["a zip file of something else", zipOf([{ name: "readme.txt", data: bytesOf(3) }]), /without data.pkl/],
    ["compressed", zipOf([{ name: "x/data.pkl", data: pickle, method: 8 }]), /compressed/],
    ["without the storage", zipOf([{ name: "x/data.pkl", data: pickle }]), /not there/],
    [
      "with a storage of another size",
      zipOf([
        { name: "x/data.pkl", data: pickle },
        { name: "x/data/0", data: bytesOf(7) },
      ]),
      /7 bytes are stored/,
    ],
    [
      "big-endian",
      zipOf([
        { name: "x/data.pkl", data: pickle },
        { name: "x/byteorder", data: Uint8Array.from(text("big")) },
      ]),
      /byte order/,
    ],
    [
      "without tensors",
      zipOf([{ name: "x/data.pkl", data: Uint8Array.from([0x80, 2, 0x7d, 0x2e]) }]),
      /state dict/,
    ],
  ])("%s", async (_, bytes, reason) => {
    await expect(openBytes(bytes)).rejects.toThrow(reason);
    await expect(openBytes(bytes)).rejects.toMatchObject({ code: "input" });
  });

  it("damaged at random: it opens and reads, or is refused with one sentence", async () => {
    const random = seededRandom(20261127);
    const whole = await encodePickle(TENSORS);
    for (let i = 0; i < 150; i++) {
      const bytes = random() < 0.3 ? whole.slice(0, Math.floor(random() * whole.length)) : whole.slice();
      for (let flips = 1 + Math.floor(random() * 6); flips > 0; flips--)
        bytes[Math.floor(random() * bytes.length)] ^= 1 << Math.floor(random() * 8);
      try {
        const checkpoint = await openBytes(bytes);
        for (const name of checkpoint.tensors.keys()) await checkpoint.readRaw(name);
      } catch (error) {
        expect(error, `case ${i}`).toBeInstanceOf(SubbitError);
        expect((error as SubbitError).code, `case ${i}: ${(error as Error).message}`).toBe("input");
      }
    }
  });
});
