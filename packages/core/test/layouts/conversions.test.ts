/** Conversions between layouts: exact where the algebra allows, refused with the reason where it does not. */
import { describe, expect, it } from "vitest";
import { maxWeightDifference } from "../../src/layouts/compare-models.js";
import { convertedModel } from "../../src/layouts/converted-model.js";
import type { OfficialLayoutName } from "../../src/layouts/official-layout.js";
import { planDense, planOfficial } from "../../src/layouts/plan-folder.js";
import { officialLayout } from "../../src/layouts/registry.js";
import { planSubbit } from "../../src/layouts/subbit-write.js";
import type { Model } from "../../src/model/model.js";
import { ODD_SIZES, open, packedModel, type Form, type Sizes } from "../packed-models.js";
import { openPlan } from "../planned-folders.js";

/** Sizes that no layout refuses: whole bytes a row, no biases. */
const EVEN_SIZES: Sizes = {
  hidden: 40,
  intermediate: 72,
  vocab: 33,
  headDim: 8,
  heads: 3,
  bias: false,
  tied: false,
};
const ROWS: Form = { kind: "dense", bits: 16 };

async function modelOf(
  form: Form,
  sizes: Sizes = EVEN_SIZES,
  tables: [Form, Form] = [ROWS, ROWS],
): Promise<Model> {
  return open(await planSubbit(packedModel(sizes, [form], tables)));
}

const factored = (options: Partial<Extract<Form, { kind: "factored" }>> = {}): Form => ({
  kind: "factored",
  ranks: [16],
  ...options,
});

describe("a model is the same in another layout", () => {
  const cases: readonly (readonly [string, Form, readonly OfficialLayoutName[]])[] = [
    ["one path", factored(), ["littlebit", "dbf", "mdbf", "nanoquant"]],
    [
      "one path without a middle scale",
      factored({ midScale: false }),
      ["littlebit", "dbf", "mdbf", "nanoquant"],
    ],
    ["scales of 8 bits", factored({ scaleBits: 8 }), ["littlebit", "dbf", "mdbf", "nanoquant"]],
    ["a rank above the width", factored({ ranks: [88] }), ["littlebit", "dbf", "mdbf", "nanoquant"]],
    ["an odd rank", factored({ ranks: [13] }), ["littlebit", "mdbf", "nanoquant"]],
    ["two paths", factored({ ranks: [8, 8] }), ["littlebit", "mdbf"]],
    ["paths of different rank", factored({ ranks: [9, 4] }), ["mdbf"]],
    ["envelopes", factored({ ranks: [5, 5], envelope: 3 }), ["mdbf"]],
    ["OneBit", { kind: "onebit", scaleBits: 16 }, ["onebit"]],
  ];
  for (const [name, form, layouts] of cases) {
    it.each(layouts)(`${name}: %s`, async (layout) => {
      const model = await modelOf(form);
      const converted = await openPlan(await planOfficial(officialLayout(layout), model));
      expect(converted.layout?.name).toBe(layout);
      expect(await maxWeightDifference(model, converted)).toBe(0);
      const back = await open(await planSubbit(convertedModel(converted, { writtenBy: "test" })));
      expect(await maxWeightDifference(model, back)).toBe(0);
    });
  }

  it("biases too, where the layout has them", async () => {
    const model = await modelOf(factored(), ODD_SIZES);
    for (const layout of ["littlebit", "mdbf", "nanoquant"] as const) {
      const converted = await openPlan(await planOfficial(officialLayout(layout), model));
      expect(await maxWeightDifference(model, converted)).toBe(0);
    }
  });

  it("dense linears beside packed ones, where the layout has them", async () => {
    const model = await open(await planSubbit(packedModel(EVEN_SIZES, [factored(), ROWS], [ROWS, ROWS])));
    const converted = await openPlan(await planOfficial(officialLayout("mdbf"), model));
    expect(await maxWeightDifference(model, converted)).toBe(0);
  });

  it("as dense weights, with quantised and factored tables as well", async () => {
    const model = await modelOf(factored({ ranks: [7, 3], envelope: 2 }), ODD_SIZES, [
      { kind: "dense", bits: 8 },
      factored(),
    ]);
    const dense = await openPlan(await planDense(model));
    expect(await maxWeightDifference(model, dense)).toBe(0);
    expect(dense.checkpoint.config["quantization_config"]).toBeUndefined();
  });
});

describe("a DBF model whose base has biases", () => {
  it("has biases of zero, because the official code drops them", async () => {
    const model = await modelOf(factored(), { ...EVEN_SIZES, bias: true });
    const unbiased: Model = {
      ...model,
      linear: async (site) => {
        const linear = await model.linear(site);
        return { ...linear, bias: new Float32Array(linear.rows) };
      },
    };
    const converted = await openPlan(await planOfficial(officialLayout("dbf"), unbiased));
    expect([...converted.checkpoint.tensors.keys()].some((name) => name.endsWith(".bias"))).toBe(false);
    expect(await maxWeightDifference(unbiased, converted)).toBe(0);
    expect(await maxWeightDifference(model, converted)).toBeGreaterThan(0);
  });
});

describe("a conversion that would lose something is refused", () => {
  const refused: readonly (readonly [string, Form, OfficialLayoutName, Sizes, RegExp])[] = [
    ["two paths", factored({ ranks: [8, 8] }), "dbf", EVEN_SIZES, /2 paths/],
    ["two paths", factored({ ranks: [8, 8] }), "nanoquant", EVEN_SIZES, /2 paths/],
    ["three paths", factored({ ranks: [8, 8, 8] }), "littlebit", EVEN_SIZES, /3 paths/],
    ["paths of two ranks", factored({ ranks: [8, 16] }), "littlebit", EVEN_SIZES, /differ in rank/],
    ["envelopes", factored({ envelope: 2 }), "littlebit", EVEN_SIZES, /envelopes have rank 2/],
    ["envelopes", factored({ envelope: 2 }), "dbf", EVEN_SIZES, /envelopes have rank 2/],
    ["a LayerNorm", { kind: "onebit", scaleBits: 16 }, "littlebit", EVEN_SIZES, /LayerNorm/],
    ["a LayerNorm", { kind: "onebit", scaleBits: 16 }, "mdbf", EVEN_SIZES, /LayerNorm/],
    ["two sign matrices", factored(), "onebit", EVEN_SIZES, /product of two sign matrices/],
    ["rows of odd bytes", { kind: "onebit", scaleBits: 16 }, "onebit", ODD_SIZES, /whole bytes/],
    [
      "signs in part of a byte",
      factored({ ranks: [3] }),
      "dbf",
      { ...ODD_SIZES, bias: false },
      /multiple of 8/,
    ],
    ["biases", factored({ ranks: [8] }), "dbf", { ...EVEN_SIZES, bias: true }, /it has a bias/],
    ["no packed linear", ROWS, "mdbf", EVEN_SIZES, /no packed linears/],
    ["a dense linear", ROWS, "littlebit", EVEN_SIZES, /it is dense/],
  ];
  it.each(refused)("%s: %o to %s", async (_, form, layout, sizes, reason) => {
    const model = await modelOf(form, sizes);
    await expect(planOfficial(officialLayout(layout), model)).rejects.toThrow(reason);
  });

  it("a factored embedding", async () => {
    const model = await modelOf(factored(), EVEN_SIZES, [factored(), ROWS]);
    await expect(planOfficial(officialLayout("dbf"), model)).rejects.toThrow(/its embedding is factored/);
  });

  it("a mixture of one and two paths in a layout with one flag for all", async () => {
    const model = await open(
      await planSubbit(packedModel(EVEN_SIZES, [factored(), factored({ ranks: [8, 8] })], [ROWS, ROWS])),
    );
    await expect(planOfficial(officialLayout("littlebit"), model)).rejects.toThrow(/one for all/);
  });
});

describe("differences are seen", () => {
  it("of one sign, one scale and one norm", async () => {
    const model = await modelOf(factored());
    const changed = async (
      edit: (values: { signs: Uint32Array; scales: Float32Array }) => void,
    ): Promise<number> => {
      const other: Model = {
        ...model,
        linear: async (site) => {
          const linear = await model.linear(site);
          if (linear.kind !== "factored" || site.role !== "up") return linear;
          const [path] = linear.paths;
          const copy = { signs: path.outSigns.words.slice(), scales: path.outScales.slice() };
          edit(copy);
          return {
            ...linear,
            paths: [{ ...path, outSigns: { ...path.outSigns, words: copy.signs }, outScales: copy.scales }],
          };
        },
      };
      return maxWeightDifference(model, other);
    };
    expect(await changed(() => undefined)).toBe(0);
    expect(await changed(({ signs }) => (signs[3] ^= 1))).toBeGreaterThan(0);
    expect(await changed(({ scales }) => (scales[5] += 1))).toBeGreaterThan(0);
    expect(await changed(({ scales }) => (scales[5] = NaN))).toBeNaN();
    const norms: Model = {
      ...model,
      norm: async (site) => ({ weight: (await model.norm(site)).weight.map((w) => w + 1) }),
    };
    expect(await maxWeightDifference(model, norms)).toBeCloseTo(1, 5);
  });
});
