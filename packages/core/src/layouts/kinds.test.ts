/**
 * Every kind of linear and table through the layout, in memory: random sizes and formats come back to the bit, cost what
 * the formulas say, and run.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ODD_SIZES, open, packedModel, type Form } from "../../test/packed-models.js";
import { bitsOfOneBit, bitsOfRank, factoredShape, honestBpw } from "../linears/bits.js";
import { factoredForward } from "../linears/factored-linear.js";
import { oneBitForward } from "../linears/onebit-linear.js";
import { storedForm } from "../linears/round-scales.js";
import { tableRows, tableValues } from "../linears/table.js";
import type { Linear } from "../linears/types.js";
import { inspectModel } from "../model/inspect.js";
import { embedTokens, referenceForward } from "../model/reference.js";
import { LINEAR_ROLES } from "../model/spec.js";
import { planSubbit } from "./subbit-write.js";

const scaleBits = fc.constantFrom(32 as const, 16 as const, 8 as const);
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

/** As it is read: a width of 16 bits is not said. */
function unsaid(linear: Linear): Linear {
  if (linear.kind === "dense") return linear;
  const { scaleBits: width, ...said } = linear;
  return width === 8 || width === 32 ? linear : said;
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
    const bits = bitsOf(await packed.embedding());
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
