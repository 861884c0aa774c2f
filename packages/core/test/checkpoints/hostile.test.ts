/**
 * Files damaged at random: each either opens and reads, or throws one `input` error, at once and in little memory.
 * The seed is fixed, so a failure can be repeated.
 */
import { describe, expect, it } from "vitest";
import { SubbitError } from "../../src/errors.js";
import { openCheckpoint } from "../../src/checkpoints/open.js";
import { encodeSafetensors } from "../../src/checkpoints/safetensors/encode.js";
import { bytesSource } from "../../src/checkpoints/sources.js";
import type { ByteSource } from "../../src/checkpoints/types.js";
import { seededRandom } from "../shared-fixtures.js";
import { buildGguf, f32Bytes, tinyLlamaMetadata, tinyLlamaTensors } from "./build-gguf.js";

const MUTATIONS = 400;
/** Well above what a file of a few kilobytes takes (a few ms), with room for a busy machine. */
const MAX_MS = 300;

type Random = () => number;
const below = (random: Random, limit: number): number => Math.floor(random() * limit);

/** Numbers that overflow, wrap or nearly fit. */
const EDGE_NUMBERS = [
  0n,
  1n,
  0x7fn,
  0xffn,
  0x7fffffffn,
  0xffffffffn,
  2n ** 53n,
  2n ** 60n,
  2n ** 63n,
  2n ** 64n - 1n,
];

const MUTATORS: readonly ((bytes: Uint8Array, random: Random) => Uint8Array)[] = [
  function truncate(bytes, random) {
    return bytes.slice(0, below(random, bytes.length));
  },
  function flipBits(bytes, random) {
    const out = bytes.slice();
    for (let i = 1 + below(random, 8); i > 0; i--) out[below(random, out.length)] ^= 1 << below(random, 8);
    return out;
  },
  function splice(bytes, random) {
    const from = below(random, bytes.length);
    const part = bytes.slice(from, from + below(random, 64));
    const at = below(random, bytes.length);
    return new Uint8Array([...bytes.subarray(0, at), ...part, ...bytes.subarray(at + below(random, 64))]);
  },
  function writeHostileNumber(bytes, random) {
    const out = bytes.slice();
    const value = EDGE_NUMBERS[below(random, EDGE_NUMBERS.length)];
    // Anywhere, but preferably near the start, where counts and lengths are.
    const at = below(random, random() < 0.5 ? 64 : out.length - 8);
    new DataView(out.buffer).setBigUint64(at, value, true);
    return out;
  },
  function changeDigits(bytes, random) {
    const out = bytes.slice();
    for (let i = 0; i < out.length; i++) {
      if (out[i] >= 0x30 && out[i] <= 0x39 && random() < 0.02) out[i] = 0x30 + below(random, 10);
    }
    return out;
  },
  function fill(bytes, random) {
    const at = below(random, bytes.length);
    return bytes.slice().fill(random() < 0.5 ? 0 : 255, at, at + below(random, 256));
  },
];

/** Opens a file and reads everything that it has. */
async function readAll(source: ByteSource): Promise<void> {
  const checkpoint = await openCheckpoint(source);
  for (const [name, { shape }] of checkpoint.tensors) {
    const rows = shape[0] ?? 1;
    await checkpoint.readF32(name, { begin: rows >> 1, end: rows });
  }
  for (const file of ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]) {
    await checkpoint.readText(file);
  }
  await checkpoint.close();
}

async function attack(
  bytes: Uint8Array,
  name: string,
  seed: number,
): Promise<{ refused: number; slowestMs: number }> {
  let refused = 0;
  let slowestMs = 0;
  for (let i = 0; i < MUTATIONS; i++) {
    const random = seededRandom(seed + i);
    const damaged = MUTATORS[i % MUTATORS.length](bytes, random);
    let bytesRead = 0;
    const inner = bytesSource(damaged, name);
    const source: ByteSource = {
      ...inner,
      read: (offset, length) => {
        bytesRead += length;
        return inner.read(offset, length);
      },
    };
    const begin = performance.now();
    try {
      await readAll(source);
    } catch (error) {
      if (!(error instanceof SubbitError) || error.code !== "input") {
        throw new Error(`Mutation ${i} (seed ${seed + i}) threw ${String(error)}`, { cause: error });
      }
      expect(error.message.length).toBeLessThan(1000);
      refused++;
    }
    slowestMs = Math.max(slowestMs, performance.now() - begin);
    // Header twice (a walk and the parser), tensors once, with slack for repaired strings.
    expect(bytesRead).toBeLessThanOrEqual(8 * damaged.length + 1024);
  }
  return { refused, slowestMs };
}

describe("damaged files", () => {
  it(`safetensors: ${MUTATIONS} random mutations open or are refused with one input error`, async () => {
    const bytes = await encodeSafetensors(
      Array.from({ length: 20 }, (_, i) => ({
        name: `model.layers.${i}.mlp.up_proj.weight`,
        dtype: "F32" as const,
        shape: [4, 3],
        data: f32Bytes(Array.from({ length: 12 }, (_, j) => i + j)),
      })),
      { metadata: { format: "pt" } },
    );
    const { refused, slowestMs } = await attack(bytes, "damaged.safetensors", 1000);
    expect(refused).toBeGreaterThan(MUTATIONS / 4);
    expect(slowestMs).toBeLessThan(MAX_MS);
  });

  it.each(["gpt2", "llama"] as const)(
    `GGUF with a %s tokenizer: ${MUTATIONS} random mutations open or are refused with one input error`,
    async (kind) => {
      const metadata = tinyLlamaMetadata().set("tokenizer.ggml.model", { type: "text", value: kind });
      if (kind === "llama")
        metadata.set("tokenizer.ggml.scores", { type: "f32s", value: [0, -1, -2, -3, -4, -5] });
      const { refused, slowestMs } = await attack(
        buildGguf(metadata, tinyLlamaTensors()),
        "damaged.gguf",
        2000,
      );
      expect(refused).toBeGreaterThan(MUTATIONS / 4);
      expect(slowestMs).toBeLessThan(MAX_MS);
    },
  );

  it("config.json and the index: damaged text is an input error", async () => {
    const weights = await encodeSafetensors([{ name: "a", dtype: "U8", shape: [1], data: Uint8Array.of(1) }]);
    const index = '{"metadata":{"total_size":1},"weight_map":{"a":"s.safetensors"}}';
    for (let i = 0; i < 200; i++) {
      const mutate = MUTATORS[i % 3];
      const files = new Map<string, Uint8Array>([
        [
          "config.json",
          mutate(new TextEncoder().encode('{"model_type":"llama","vocab_size":3}'), seededRandom(i)),
        ],
        ["model.safetensors.index.json", mutate(new TextEncoder().encode(index), seededRandom(3000 + i))],
        ["s.safetensors", weights],
      ]);
      try {
        await openCheckpoint({
          name: "a folder",
          list: () => Promise.resolve([...files.keys()]),
          open: (name) => Promise.resolve(files.has(name) ? bytesSource(files.get(name)!, name) : undefined),
        });
      } catch (error) {
        expect(error).toMatchObject({ name: "SubbitError", code: "input" });
      }
    }
  });
});
