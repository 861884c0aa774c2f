/**
 * Every kind of linear and table through the layout, in memory: random sizes and formats come back to the bit, cost what
 * the formulas say, run, and are refused when their manifest lies.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  random,
  randomDense,
  randomFactored,
  randomOneBit,
  type FactoredOptions,
} from "../../test/random-linears.js";
import { openCheckpoint } from "../checkpoints/open.js";
import { encodeSafetensors, inFileOrder } from "../checkpoints/safetensors/encode.js";
import { bytesSource } from "../checkpoints/sources.js";
import { SubbitError } from "../errors.js";
import { bitsOfOneBit, bitsOfRank, factoredShape, honestBpw } from "../linears/bits.js";
import { factoredForward } from "../linears/factored-linear.js";
import { reduceDense } from "../linears/narrow.js";
import { oneBitForward } from "../linears/onebit-linear.js";
import { storedForm } from "../linears/round-scales.js";
import { tableRows, tableValues } from "../linears/table.js";
import type { Linear, Table } from "../linears/types.js";
import { modelSpec } from "../model/families/registry.js";
import { inspectModel } from "../model/inspect.js";
import type { Model } from "../model/model.js";
import { openModel } from "../model/open-model.js";
import { embedTokens, referenceForward } from "../model/reference.js";
import { LINEAR_ROLES } from "../model/spec.js";
import type { DenseEntry, FactoredEntry, OneBitEntry, SubbitManifest } from "./manifest.js";
import { planSubbit, type PackedModel, type SubbitPlan } from "./subbit-write.js";

/** What a linear or a table is made as. */
type Form =
  | ({ readonly kind: "factored" } & FactoredOptions)
  | { readonly kind: "onebit"; readonly scaleBits: 16 | 8 }
  | { readonly kind: "dense"; readonly bits: 16 | 8 | 4 | 2 };

interface Sizes {
  readonly hidden: number;
  readonly intermediate: number;
  readonly vocab: number;
  readonly headDim: number;
  readonly heads: number;
  readonly bias: boolean;
  readonly tied: boolean;
}

function make(form: Form, rows: number, cols: number, bias: boolean): Linear {
  switch (form.kind) {
    case "factored":
      return storedForm(randomFactored(rows, cols, { ...form, bias }));
    case "onebit":
      return storedForm(randomOneBit(rows, cols, { ...form, bias }));
    case "dense":
      return reduceDense(randomDense(rows, cols, bias), form.bits);
  }
}

/** A model of one block whose linears take the forms in turn. */
function packedModel(
  sizes: Sizes,
  forms: readonly Form[],
  tables: readonly [Form, Form],
): PackedModel & { readonly linears: ReadonlyMap<string, Linear> } {
  const config = {
    model_type: "llama",
    hidden_size: sizes.hidden,
    intermediate_size: sizes.intermediate,
    num_hidden_layers: 1,
    num_attention_heads: sizes.heads,
    num_key_value_heads: 1,
    head_dim: sizes.headDim,
    vocab_size: sizes.vocab,
    attention_bias: sizes.bias,
    tie_word_embeddings: sizes.tied,
  };
  const spec = modelSpec(config);
  const linears = new Map<string, Linear>();
  LINEAR_ROLES.forEach((role, i) => {
    const { rows, cols, bias } = spec.linearShapes[role];
    linears.set(role, make(forms[i % forms.length], rows, cols, bias));
  });
  const [embedding, head] = tables.map((form) => make(form, sizes.vocab, sizes.hidden, false) as Table);
  const norm = random(sizes.hidden);
  return {
    spec,
    config,
    linears,
    linear: ({ role }) => Promise.resolve(linears.get(role)!),
    method: () => "dbf",
    norm: () => Promise.resolve({ weight: norm }),
    embedding: () => Promise.resolve(embedding),
    head: () => Promise.resolve(head),
    writtenBy: "subbit 0.0.0-test",
    recipe: {},
  };
}

/** Opens what a plan would write; `edit` damages the manifest, `replace` the bytes of tensors. */
async function open(
  plan: SubbitPlan,
  edit?: (manifest: SubbitManifest) => void,
  replace: Record<string, Uint8Array> = {},
): Promise<Model> {
  const manifest = structuredClone(plan.manifest);
  edit?.(manifest);
  const text = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
  const tensors = inFileOrder(plan.tensors).map((tensor) =>
    tensor.name in replace ? { ...tensor, data: replace[tensor.name] } : tensor,
  );
  const files = new Map([
    ["config.json", text(plan.config)],
    ["subbit.json", text(manifest)],
    ["model.safetensors", await encodeSafetensors(tensors)],
  ]);
  return openModel(
    await openCheckpoint({
      name: "the folder",
      list: () => Promise.resolve([...files.keys()]),
      open: (name) => Promise.resolve(files.has(name) ? bytesSource(files.get(name)!, name) : undefined),
    }),
  );
}

const scaleBits = fc.constantFrom(16 as const, 8 as const);
const factoredForm = fc.record({
  kind: fc.constant("factored" as const),
  ranks: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 3 }),
  envelope: fc.integer({ min: 1, max: 3 }),
  midScale: fc.boolean(),
  scaleBits,
});
const denseForm = fc.record({
  kind: fc.constant("dense" as const),
  bits: fc.constantFrom(16 as const, 8 as const, 4 as const, 2 as const),
});
const oneBitForm = fc.record({ kind: fc.constant("onebit" as const), scaleBits });
const tableForm = fc.oneof(factoredForm, denseForm);
const linearForm = fc.oneof(factoredForm, oneBitForm, denseForm);
const sizesArb = fc.record({
  hidden: fc.integer({ min: 1, max: 70 }),
  intermediate: fc.integer({ min: 1, max: 70 }),
  vocab: fc.integer({ min: 2, max: 70 }),
  headDim: fc.integer({ min: 1, max: 20 }).map((half) => 2 * half),
  heads: fc.integer({ min: 1, max: 3 }),
  bias: fc.boolean(),
  tied: fc.boolean(),
});

const ODD_SIZES: Sizes = {
  hidden: 37,
  intermediate: 71,
  vocab: 33,
  headDim: 10,
  heads: 3,
  bias: true,
  tied: false,
};

/** As it is read: a width of 16 bits is not said. */
function unsaid<T extends Linear>(linear: T): T {
  if (linear.kind === "dense" || linear.scaleBits !== 16) return linear;
  const { scaleBits: _, ...rest } = linear;
  return rest as T;
}

function bitsOf(linear: Linear): number {
  if (linear.kind === "factored") return bitsOfRank(factoredShape(linear)).total;
  return linear.kind === "onebit"
    ? bitsOfOneBit(linear).total
    : honestBpw(linear) * linear.rows * linear.cols;
}

describe("every kind of linear and table", () => {
  it("comes back to the bit and costs the bits that the formulas say", async () => {
    await fc.assert(
      fc.asyncProperty(
        sizesArb,
        fc.array(linearForm, { minLength: 7, maxLength: 7 }),
        fc.tuple(tableForm, tableForm),
        async (sizes, forms, tables) => {
          const packed = packedModel(sizes, forms, tables);
          const plan = await planSubbit(packed);
          const model = await open(plan);
          const report = inspectModel(model);
          for (const [i, role] of LINEAR_ROLES.entries()) {
            const want = packed.linears.get(role)!;
            const got = await model.linear({ layer: 0, role });
            expect(got).toEqual(unsaid(want));
            if (got.kind !== "dense") expect(storedForm(got)).toEqual(got);
            const line = report.linears[i];
            expect(line.method).toBe(want.kind === "factored" ? "dbf" : want.kind);
            const written = plan.tensors
              .filter(({ name }) => name.startsWith(`${line.name}.`) && !name.endsWith(".bias"))
              .map(({ name }) => model.checkpoint.tensors.get(name)!.bytes);
            expect(written.reduce((sum, bytes) => sum + 8 * bytes, 0)).toBe(line.bits);
            // Row scales that 16 bits do not hold precisely are stored in 32.
            if (want.kind !== "dense") expect(bitsOf(want)).toBe(line.bits);
          }
          expect(await model.embedding()).toEqual(unsaid((await packed.embedding()) as Linear));
          if (!sizes.tied) expect(await model.head()).toEqual(unsaid((await packed.head()) as Linear));
          const parts: readonly number[] = Object.values<number>({ ...report.bytes });
          expect(parts.reduce((sum, bytes) => sum + bytes, 0)).toBe(report.fileBytes);
          const written = plan.tensors.reduce(
            (sum, { name }) => sum + model.checkpoint.tensors.get(name)!.bytes,
            0,
          );
          expect(report.bytes.other).toBe(report.fileBytes - written);
          const { logits } = await referenceForward(model, [0, 1, 0]);
          expect(logits.length).toBe(3 * sizes.vocab);
          expect(logits.every(Number.isFinite)).toBe(true);
          await model.close();
        },
      ),
      { numRuns: 40 },
    );
  });

  it("counts a factored table as embeddings or head, signs and scales of it too", async () => {
    const form = { kind: "factored", ranks: [5, 9], scaleBits: 8 } as const;
    const packed = packedModel(ODD_SIZES, [{ kind: "dense", bits: 16 }], [form, form]);
    const plan = await planSubbit(packed);
    const bits = bitsOf((await packed.embedding()) as Linear);
    expect(plan.manifest.bytes).toMatchObject({ signs: 0, scales: 0, embeddings: bits / 8, head: bits / 8 });
    expect(plan.manifest.embedding).toEqual({
      kind: "factored",
      method: "littlebit",
      rows: 33,
      cols: 37,
      rank: 5,
      ranks: [5, 9],
      paths: 2,
      envelope: 1,
      midScale: true,
      scaleBits: 8,
      biasBits: 0,
    });
    const named = plan.tensors.map(({ name }) => name);
    expect(named).toContain("model.embed_tokens.paths.1.out_signs");
    expect(named).toContain("lm_head.paths.0.mid_scales_base");
    expect(named).not.toContain("model.embed_tokens.weight");
    const method = (table: string): string => `${table}-method`;
    const { manifest } = await planSubbit({ ...packed, tableMethod: method });
    expect(manifest.head).toMatchObject({ method: "head-method" });
  });

  it("says of a OneBit linear that it has no rank, and of paths where their ranks differ", async () => {
    const forms: Form[] = [
      { kind: "onebit", scaleBits: 8 },
      { kind: "factored", ranks: [4, 6] },
      { kind: "factored", ranks: [4, 4] },
    ];
    const dense = { kind: "dense", bits: 2 } as const;
    const model = await open(await planSubbit(packedModel(ODD_SIZES, forms, [dense, dense])));
    const [onebit, mixed, equal] = inspectModel(model).linears;
    expect(onebit).toMatchObject({ method: "onebit", dtype: null, rank: null, paths: null, envelope: null });
    expect(onebit.bits).toBe(30 * 64 + 8 * (30 + 37) + 32);
    expect(onebit.paperBpw).toBe(1 + (16 * (30 + 37)) / (30 * 37));
    expect(mixed).toMatchObject({ rank: 4, ranks: [4, 6], paths: 2 });
    expect(equal).not.toHaveProperty("ranks");
    expect(model.manifest!.linears[equal.name]).not.toHaveProperty("ranks");
  });
});

describe("the reference interpreter", () => {
  it("computes each kind as its slow twin does, and the tables' rows", async () => {
    const forms: Form[] = [
      { kind: "onebit", scaleBits: 16 },
      { kind: "factored", ranks: [7, 3], scaleBits: 8 },
      { kind: "factored", ranks: [6], envelope: 2 },
    ];
    const form = { kind: "factored", ranks: [20, 11] } as const;
    const packed = packedModel(ODD_SIZES, forms, [form, form]);
    const model = await open(await planSubbit(packed));
    const twin = (linear: Linear, x: Float32Array): Float32Array => {
      if (linear.kind === "onebit") return oneBitForward(linear, x);
      if (linear.kind === "factored") return factoredForward(linear, x);
      throw new Error("dense");
    };
    // The last block's input is known, so its value projections follow by the twins alone: one token attends to itself.
    const { hidden, logits } = await referenceForward(model, [5]);
    const rms = (x: Float32Array): number =>
      Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length + 1e-6);
    const { weight } = await model.norm({ role: "final-norm" });
    const normed = (x: Float32Array): Float32Array => x.map((value, i) => (value / rms(x)) * weight[i]);
    const at = (role: (typeof LINEAR_ROLES)[number]): Linear => packed.linears.get(role)!;
    expect(hidden[0]).toEqual(tableRows(await packed.embedding(), [5]));
    const values = twin(at("v"), normed(hidden[0]));
    const repeated = Float32Array.from({ length: 30 }, (_, i) => values[i % 10]);
    const attended = hidden[0].map((value, i) => value + twin(at("o"), repeated)[i]);
    const x = normed(attended);
    const gate = twin(at("gate"), x).map((value) => value / (1 + Math.exp(-value)));
    const up = twin(at("up"), x);
    const down = twin(
      at("down"),
      gate.map((value, i) => value * up[i]),
    );
    const last = normed(attended.map((value, i) => value + down[i]));
    // Values of size one that passed a handful of f32 roundings.
    const tolerance = 1e-3;
    last.forEach((value, i) => expect(Math.abs(value - hidden[1][i])).toBeLessThan(tolerance));
    const head = tableValues(await packed.head());
    logits.forEach((value, token) => {
      const want = last.reduce((sum, each, i) => sum + each * head[token * 37 + i], 0);
      expect(Math.abs(value - want)).toBeLessThan(tolerance * 10);
    });
    expect(embedTokens(await model.embedding(), [5, 5])).toEqual(
      Float32Array.from([...hidden[0], ...hidden[0]]),
    );
  });
});

describe("manifests that lie", () => {
  const forms: Form[] = [
    { kind: "onebit", scaleBits: 8 },
    { kind: "factored", ranks: [4, 6], scaleBits: 8 },
    { kind: "dense", bits: 2 },
  ];
  const table = { kind: "factored", ranks: [5, 9] } as const;
  const packed = packedModel(ODD_SIZES, forms, [table, { kind: "dense", bits: 2 }]);
  const q = "model.layers.0.self_attn.q_proj";
  const k = "model.layers.0.self_attn.k_proj";
  const v = "model.layers.0.self_attn.v_proj";
  const factored = (m: SubbitManifest): FactoredEntry => m.linears[k] as FactoredEntry;
  const embedding = (m: SubbitManifest): FactoredEntry => m.embedding as FactoredEntry;
  const set = (entry: object, fields: object): void => void Object.assign(entry, fields);

  it.each<[string, (manifest: SubbitManifest) => void, RegExp]>([
    ["ranks that are not the paths", (m) => set(factored(m), { paths: 3 }), /k_proj 3 paths, but 2 ranks/],
    ["a rank that is not the first", (m) => set(factored(m), { rank: 6 }), /rank 6, but 4 as the first/],
    ["ranks of one path", (m) => set(factored(m), { ranks: [4], paths: 1 }), /malformed at linears.*ranks/],
    ["absurd ranks", (m) => set(factored(m), { ranks: [4, 2 ** 40] }), /malformed at linears.*ranks\.1/],
    ["large ranks", (m) => set(factored(m), { ranks: [4, 2 ** 24] }), /paths\.1\.out_signs.*\[16777216, 1\]/],
    ["no ranks", (m) => delete factored(m).ranks, /paths\.1\.out_signs .*\[6, 1\].*\[4, 1\]/],
    ["scales of another width", (m) => set(factored(m), { scaleBits: 16 }), /out_scales .*dtype U8.*F16/],
    ["scales of no width", (m) => set(factored(m), { scaleBits: 4 }), /malformed at linears.*scaleBits/],
    [
      "a envelope that is not stored",
      (m) => set(factored(m), { envelope: 2 }),
      /out_scales .*\[1, 10\].*\[2, 10\]/,
    ],
    ["OneBit of another size", (m) => set(m.linears[q], { cols: 36 }), /shape \[30, 36\].*\[30, 37\]/],
    ["OneBit scales of 16 bits", (m) => set(m.linears[q] as OneBitEntry, { scaleBits: 16 }), /dtype U8/],
    [
      "a OneBit linear as dense",
      (m) => set(m.linears[q], { kind: "dense", bits: 16 }),
      /no tensor .*q_proj\.weight/,
    ],
    ["codes of another width", (m) => set(m.linears[v] as DenseEntry, { bits: 4 }), /\[10, 10\].*\[10, 19\]/],
    ["codes of no width", (m) => set(m.linears[v] as DenseEntry, { bits: 3 }), /malformed at linears/],
    [
      "a table of another size",
      (m) => set(embedding(m), { rows: 34 }),
      /embedding the shape \[34, 37\].*\[33, 37\]/,
    ],
    ["a table with a bias", (m) => set(embedding(m), { biasBits: 16 }), /and a bias/],
    ["a table's ranks", (m) => set(embedding(m), { ranks: [5, 9, 9] }), /the embedding 2 paths, but 3 ranks/],
    ["a OneBit table", (m) => set(embedding(m), { kind: "onebit" }), /malformed at embedding/],
    ["a dense table that is factored", (m) => set(m.head!, { ...embedding(m) }), /no tensor lm_head\.paths/],
    ["a wrong sum", (m) => m.bytes.embeddings++, /bytes\.embeddings/],
    [
      "what a later version adds",
      (m) => {
        m.formatVersion.minor = 7;
        set(m.linears[q], { kind: "threebit" });
      },
      /malformed at linears.*version 1\.7 .*knows 1\.1/,
    ],
  ])("with %s are refused with a sentence", async (_, edit, message) => {
    const failure = await open(await planSubbit(packed), edit).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(SubbitError);
    expect((failure as SubbitError).code).toBe("input");
    expect((failure as SubbitError).message).toMatch(message);
    expect((failure as SubbitError).message).toMatch(/^[^\n]+\.$/);
  });

  it("open when a later minor version adds only fields", async () => {
    const model = await open(await planSubbit(packed), (m) => {
      m.formatVersion.minor = 7;
      set(m.linears[q], { colour: "red" });
    });
    expect(model.spec.layers).toBe(1);
  });

  it("do not hide bases that are negative or not finite, nor set padding", async () => {
    const plan = await planSubbit(packed);
    const half = (bits: number): Uint8Array => Uint8Array.of(bits & 255, bits >>> 8);
    const at = (role: "q" | "k", replace: Record<string, Uint8Array>): Promise<Linear> =>
      open(plan, undefined, replace).then((model) => model.linear({ layer: 0, role }));
    await expect(at("q", { [`${q}.out_scales_base`]: half(0xbc00) })).rejects.toThrow(/base -1.*damaged/);
    await expect(at("k", { [`${k}.paths.0.mid_scales_base`]: half(0x7c00) })).rejects.toThrow(/not finite/);
    const signs = new Uint8Array(30 * 8).fill(0xff);
    await expect(at("q", { [`${q}.signs`]: signs })).rejects.toThrow(/q_proj\.signs.*padding/);
  });
});
