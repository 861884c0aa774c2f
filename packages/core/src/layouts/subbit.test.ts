/** The subbit layout: what is written is what is read, to the bit; the accounting is the file's; damage is refused. */
import { mkdtemp, readFile, readdir, rm, writeFile, mkdir, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { denseFromF32 } from "../linears/dense-linear.js";
import { reduceDense } from "../linears/narrow.js";
import { oneBitMatrix } from "../linears/onebit-linear.js";
import { storedForm } from "../linears/round-scales.js";
import { packSigns } from "../linears/sign-matrix.js";
import { tableValues } from "../linears/table.js";
import type { FactoredLinear, Linear } from "../linears/types.js";
import { modelSpec } from "../model/families/registry.js";
import { inspectModel } from "../model/inspect.js";
import type { Model } from "../model/model.js";
import { openModel } from "../model/open-model.js";
import { referenceForward } from "../model/reference.js";
import { LINEAR_ROLES, type LinearSite } from "../model/spec.js";
import { openCheckpointAt } from "../node/open-checkpoint-at.js";
import { writeSubbit } from "../node/write-subbit.js";
import type { PackedModel } from "./subbit-write.js";

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "subbit-layout-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const random = (length: number, scale = 1): Float32Array =>
  Float32Array.from({ length }, () => scale * (Math.random() * 2 - 1));

const CONFIG = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 40,
  intermediate_size: 70,
  num_hidden_layers: 2,
  num_attention_heads: 5,
  num_key_value_heads: 1,
  vocab_size: 33,
  max_position_embeddings: 64,
  attention_bias: true,
  tie_word_embeddings: false,
};

interface Shape {
  readonly paths: number;
  readonly envelope: number;
  readonly midScale: boolean;
}

function randomFactored(rows: number, cols: number, bias: boolean, shape: Shape): FactoredLinear {
  const rank = 13;
  const { envelope, midScale } = shape;
  const paths = Array.from({ length: shape.paths }, () => ({
    rank,
    envelope,
    outSigns: packSigns(random(rows * rank), rows, rank),
    inSigns: packSigns(random(rank * cols), rank, cols),
    outScales: random(envelope * rows, 0.1),
    inScales: random(envelope * cols, 2),
    ...(midScale && { midIn: random(envelope * rank, 0.3) }),
    ...(midScale && envelope > 1 && { midOut: random(envelope * rank) }),
  }));
  return { kind: "factored", rows, cols, paths, ...(bias && { bias: random(rows) }) };
}

/** A random packed model: first block dense in several widths, second factored in several formats. */
function randomModel(overrides: Record<string, unknown> = {}): PackedModel {
  const config = { ...CONFIG, ...overrides };
  const spec = modelSpec(config);
  const linears = new Map<string, Linear>();
  const shapes: readonly Shape[] = [
    { paths: 1, envelope: 1, midScale: true },
    { paths: 1, envelope: 1, midScale: false },
    { paths: 2, envelope: 1, midScale: true },
    { paths: 1, envelope: 2, midScale: true },
  ];
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const [i, role] of LINEAR_ROLES.entries()) {
      const { rows, cols, bias } = spec.linearShapes[role];
      const dense = denseFromF32(random(rows * cols), rows, cols, bias ? random(rows) : undefined);
      const reduced = [dense, reduceDense(dense, 16), reduceDense(dense, 8), reduceDense(dense, 4)][i % 4];
      const linear = layer === 0 ? reduced : storedForm(randomFactored(rows, cols, bias, shapes[i % 4]));
      linears.set(spec.names.linear({ layer, role }), linear);
    }
  }
  const embedding = reduceDense(denseFromF32(random(33 * 40), 33, 40), 8);
  const head = reduceDense(denseFromF32(random(33 * 40), 33, 40), 4);
  const norms = new Map<string, Float32Array>();
  return {
    spec,
    config,
    linear: (site) => Promise.resolve(linears.get(spec.names.linear(site))!),
    method: ({ role }) =>
      ({ 0: "dbf", 1: "nanoquant", 2: "littlebit", 3: "mdbf" })[LINEAR_ROLES.indexOf(role) % 4]!,
    norm: (site) => {
      const name = spec.names.norm(site);
      if (!norms.has(name)) norms.set(name, random(40));
      return Promise.resolve({ weight: norms.get(name)! });
    },
    embedding: () => Promise.resolve(embedding),
    head: () => Promise.resolve(head),
    writtenBy: "subbit 0.0.0-test",
    recipe: { method: "random" },
  };
}

const sites = (model: { spec: Model["spec"] }): LinearSite[] =>
  Array.from({ length: model.spec.layers }, (_, layer) =>
    LINEAR_ROLES.map((role) => ({ layer, role })),
  ).flat();

const weightsOf = (linear: Linear): Float32Array =>
  linear.kind === "onebit" ? oneBitMatrix(linear) : tableValues(linear);

async function openAt(folder: string): Promise<Model> {
  const checkpoint = await openCheckpointAt(folder);
  try {
    return await openModel(checkpoint);
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

let counter = 0;
async function writeRandom(
  overrides: Record<string, unknown> = {},
): Promise<{ folder: string; packed: PackedModel }> {
  const folder = join(root, `model-${counter++}`);
  const packed = randomModel(overrides);
  await writeSubbit(folder, packed, { texts: new Map([["tokenizer.json", "{}"]]), card: "# card\n" });
  return { folder, packed };
}

/** subbit.json with every field open to damage. */
interface EditableManifest {
  formatVersion?: { major: number };
  linears: Record<string, { rows: number; rank: number } | undefined>;
  bytes: { signs: number };
  embedding: { bits: number };
  head?: unknown;
}

async function editManifest(folder: string, edit: (manifest: EditableManifest) => void): Promise<void> {
  const path = join(folder, "subbit.json");
  const manifest = JSON.parse(await readFile(path, "utf8")) as EditableManifest;
  edit(manifest);
  await writeFile(path, JSON.stringify(manifest));
}

describe("the subbit layout", () => {
  it("gives back every linear, norm and table bit by bit", async () => {
    const { folder, packed } = await writeRandom();
    const model = await openAt(folder);
    for (const site of sites(packed)) {
      const got = await model.linear(site);
      const want = await packed.linear(site);
      expect(got).toEqual(want);
      expect(weightsOf(got)).toEqual(weightsOf(want));
    }
    for (const role of ["attention-norm", "mlp-norm"] as const) {
      expect(await model.norm({ layer: 1, role })).toEqual(await packed.norm({ layer: 1, role }));
    }
    expect(await model.embedding()).toEqual(await packed.embedding());
    expect(await model.head()).toEqual(await packed.head());
    const { logits } = await referenceForward(model, [1, 2, 3]);
    expect(logits.every(Number.isFinite)).toBe(true);
    expect((await readdir(folder)).sort()).toEqual([
      "README.md",
      "config.json",
      "model.safetensors",
      "subbit.json",
      "tokenizer.json",
    ]);
    await model.close();
  });

  it("accounts for every byte of the file, and signs waste no padding on the rank", async () => {
    const { folder } = await writeRandom();
    const model = await openAt(folder);
    const report = inspectModel(model);
    const { size } = await stat(join(folder, "model.safetensors"));
    expect(report.fileBytes).toBe(size);
    const parts: readonly number[] = Object.values<number>({ ...report.bytes });
    expect(parts.reduce((sum, bytes) => sum + bytes, 0)).toBe(size);
    const header = await readFile(join(folder, "model.safetensors"));
    expect(report.bytes.other).toBe(8 + Number(header.readBigUInt64LE(0)));
    const factored = report.linears.filter(({ method }) => method !== "dense");
    expect(factored.reduce((sum, { bits }) => sum + bits, 0)).toBe(
      8 * (report.bytes.signs + report.bytes.scales),
    );
    const down = factored.find(({ name }) => name.endsWith("gate_proj"))!;
    // rank 13, rows 70 -> 3 words, cols 40 -> 2 words; envelope 1 with middle scale? gate is the fifth role: dbf.
    expect(down.bits).toBe(13 * 32 * (3 + 2) + 16 * (70 + 40 + 13));
    expect(model.manifest!.bytes).toEqual(
      Object.fromEntries(
        Object.keys(model.manifest!.bytes).map((part) => [part, report.bytes[part as "signs"]]),
      ),
    );
    await model.close();
  });

  it("writes the same bytes for the same model", async () => {
    const packed = randomModel();
    const [first, second] = [join(root, "same-a"), join(root, "same-b")];
    await writeSubbit(first, packed);
    await writeSubbit(second, packed);
    for (const name of await readdir(first)) {
      expect(await readFile(join(first, name)), name).toEqual(await readFile(join(second, name)));
    }
  });

  it("keeps rope factors that config.json does not know", async () => {
    const packed = randomModel();
    const factors = [1, 2, 3, 4];
    const rope = packed.spec.layerKinds[0].rope!;
    const inverseFrequencies = rope.inverseFrequencies.map((frequency, i) => frequency / factors[i]);
    const folder = join(root, "rope");
    await writeSubbit(folder, {
      ...packed,
      spec: { ...packed.spec, layerKinds: [{ rope: { ...rope, inverseFrequencies } }] },
    });
    const model = await openAt(folder);
    expect(model.spec.layerKinds[0].rope?.inverseFrequencies).toEqual(inverseFrequencies);
    await model.close();
  });

  it("ties the head where the config says so", async () => {
    const { folder } = await writeRandom({ tie_word_embeddings: true });
    const model = await openAt(folder);
    expect(await model.head()).toEqual(await model.embedding());
    expect(inspectModel(model).bytes.head).toBe(0);
    await model.close();
  });

  it("refuses an existing folder, replaces a model when told, and never anything else", async () => {
    const { folder } = await writeRandom();
    await expect(writeSubbit(folder, randomModel())).rejects.toMatchObject({ code: "usage" });
    await writeSubbit(folder, randomModel(), { overwrite: true });
    const other = join(root, "precious");
    await mkdir(other);
    await writeFile(join(other, "thesis.txt"), "x");
    await expect(writeSubbit(other, randomModel(), { overwrite: true })).rejects.toThrow(/holds no model/);
    expect(await readdir(other)).toEqual(["thesis.txt"]);
  });

  it("leaves nothing behind when it fails half-way, and the old model where it was", async () => {
    const { folder } = await writeRandom();
    const before = await readFile(join(folder, "model.safetensors"));
    const names = await readdir(root);
    let calls = 0;
    const packed = randomModel();
    const failing: PackedModel = {
      ...packed,
      linear: (site) => (++calls > 20 ? Promise.reject(new Error("gone")) : packed.linear(site)),
    };
    await expect(writeSubbit(folder, failing, { overwrite: true })).rejects.toThrow("gone");
    const finish = (): Promise<never> => Promise.reject(new Error("measured badly"));
    await expect(writeSubbit(folder, packed, { overwrite: true, finish })).rejects.toThrow("measured badly");
    expect(await readdir(root)).toEqual(names);
    expect(await readFile(join(folder, "model.safetensors"))).toEqual(before);
  });

  it("writes what was measured on the finished folder into manifest and card", async () => {
    const folder = join(root, "measured");
    await writeSubbit(folder, randomModel(), {
      finish: async (temporary) => {
        const model = await openAt(temporary);
        const { bpw } = inspectModel(model);
        await model.close();
        return { quality: { bpw }, card: `# ${bpw} bits\n` };
      },
    });
    const model = await openAt(folder);
    const { bpw } = inspectModel(model);
    expect(model.manifest!.quality).toEqual({ bpw });
    expect(await model.checkpoint.readText("README.md")).toBe(`# ${bpw} bits\n`);
    await model.close();
  });
});

describe("readers of the subbit layout", () => {
  it.each<[string, (manifest: EditableManifest) => void, RegExp]>([
    [
      "another major version",
      (m) => (m.formatVersion!.major = 9),
      /written by subbit 0\.0\.0-test in version 9/,
    ],
    [
      "a wrong rank",
      (m) => (m.linears["model.layers.1.self_attn.q_proj"]!.rank = 12),
      /\[13, 2\].*\[12, 2\]/,
    ],
    [
      "a wrong shape",
      (m) => (m.linears["model.layers.1.self_attn.q_proj"]!.rows = 41),
      /\[41, 40\].*\[40, 40\]/,
    ],
    ["a missing linear", (m) => delete m.linears["model.layers.1.mlp.up_proj"], /lacks the linear/],
    [
      "an unknown linear",
      (m) => (m.linears["x"] = m.linears["model.layers.1.mlp.up_proj"]),
      /lists the linear x/,
    ],
    ["a wrong sum", (m) => m.bytes.signs++, /bytes\.signs/],
    ["a missing head", (m) => delete m.head, /lacks a head/],
    ["a huge rank", (m) => (m.linears["model.layers.1.self_attn.q_proj"]!.rank = 2 ** 40), /rank/],
    ["another kind of embedding", (m) => (m.embedding.bits = 16), /dtype I8/],
    ["no version", (m) => delete m.formatVersion, /format version/],
  ])("refuse %s with a sentence", async (_, edit, message) => {
    const { folder } = await writeRandom();
    await editManifest(folder, edit);
    await expect(openAt(folder)).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(message) as string,
    });
  });

  it("refuse a folder whose manifest is gone, and set padding bits", async () => {
    const { folder } = await writeRandom();
    await rm(join(folder, "subbit.json"));
    await expect(openAt(folder)).rejects.toThrow(/subbit\.json is missing/);
    const { folder: damaged } = await writeRandom();
    const path = join(damaged, "model.safetensors");
    const file = await readFile(path);
    const headerBytes = Number(file.readBigUInt64LE(0));
    const header = JSON.parse(file.subarray(8, 8 + headerBytes).toString()) as Record<
      string,
      { data_offsets: number[] }
    >;
    const end = header["model.layers.1.self_attn.q_proj.paths.0.in_signs"].data_offsets[1];
    file[8 + headerBytes + end - 1] |= 0x80;
    await writeFile(path, file);
    const model = await openAt(damaged);
    await expect(model.linear({ layer: 1, role: "q" })).rejects.toThrow(/padding/);
    await model.close();
  });
});
