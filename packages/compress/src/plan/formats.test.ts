import type { LINEAR_ROLES } from "@subbit/core";
import { bitsOfOneBit, bitsOfRank, modelSpec, type SubbitError } from "@subbit/core";
import { describe, expect, it } from "vitest";
import { methodForm } from "../factorise/choice.js";
import type { PlanOptions } from "../options.js";
import { parsePlanFile, planToFile } from "./plan-file.js";
import { planSpec } from "./plan-model.js";

const spec = modelSpec(
  {
    model_type: "llama",
    vocab_size: 163,
    hidden_size: 64,
    intermediate_size: 90,
    num_hidden_layers: 3,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: false,
  },
  "the test model",
);
const plan = (options: PlanOptions) => planSpec(spec, options, 0);
const refusal = (options: PlanOptions): SubbitError => {
  try {
    plan(options);
  } catch (error) {
    return error as SubbitError;
  }
  throw new Error(`${JSON.stringify(options)} was accepted`);
};
const oneSentence = /^[A-Z0-9"][^\n]*\.$/;

describe("plans of every method", () => {
  it.each(["dbf", "nanoquant", "littlebit", "mdbf"] as const)(
    "%s: scales of 8 bits buy rank, and every bit is counted",
    (method) => {
      for (const scaleBits of [16, 8] as const) {
        const { rows } = plan({ method, scaleBits, bpw: 3 });
        for (const row of rows) {
          const { paths, envelope, midScale } = methodForm(method);
          expect(row).toMatchObject({ kind: "factored", method, paths, envelope, midScale, scaleBits });
          expect(8 * row.bytes).toBe(bitsOfRank({ ...row, scaleBits }).total);
          expect(row.bpw).toBeLessThanOrEqual(3);
        }
      }
      const [wide, narrow] = ([16, 8] as const).map((scaleBits) => plan({ method, scaleBits, bpw: 3 }));
      narrow.rows.forEach((row, i) => expect(row.rank).toBeGreaterThan(wide.rows[i].rank));
    },
  );

  it("mdbf: more envelopes leave less rank at equal bits", () => {
    const ranks = [1, 2, 4, 8].map(
      (envelope) => plan({ method: "mdbf", init: "admm", envelope, bpw: 8 }).rows[0].rank,
    );
    expect([...ranks].sort((a, b) => b - a)).toEqual(ranks);
    expect(new Set(ranks).size).toBe(ranks.length);
  });

  it("onebit costs what it costs, with and without a budget", () => {
    const free = plan({ method: "onebit" });
    for (const row of free.rows) {
      expect(row).toMatchObject({ kind: "onebit", rank: 0 });
      expect(8 * row.bytes).toBe(bitsOfOneBit({ ...row, scaleBits: 16 }).total);
    }
    expect(free.targetBpw).toBe(free.totals.compressedBpw);
    expect(plan({ method: "onebit", bpw: 3 }).rows).toEqual(free.rows);
    expect(plan({ method: "onebit", scaleBits: 8 }).totals.bpw).toBeLessThan(free.totals.bpw);
    const refused = refusal({ method: "onebit", bpw: 0.8 });
    expect(refused.code).toBe("input");
    expect(refused.message).toMatch(oneSentence);
    const cost = Number(/costs ([\d.]+)/.exec(refused.message)![1]);
    expect(plan({ method: "onebit", bpw: cost }).rows).toEqual(free.rows);
    expect(refusal({ method: "onebit", bytes: 10_000 }).message).toContain(String(free.totals.fileBytes));
  });

  it("tables of 2 bits and factored ones cost what they say", () => {
    const two = plan({ bpw: 4, embedBits: 2 });
    expect(two.embedding.bytes).toBe(163 * (16 + 2));
    expect(two.head?.bytes).toBe(two.embedding.bytes);
    const factored = plan({ bpw: 4, embedMethod: "factored", embedBpw: 1.5, scaleBits: 8 });
    expect(factored.embedding).toMatchObject({ kind: "factored", bits: 0, scaleBits: 8 });
    expect(factored.embedding.bpw).toBeLessThanOrEqual(1.5);
    const { embedding } = factored;
    expect(8 * embedding.bytes).toBe(bitsOfRank(embedding).total);
    expect(bitsOfRank({ ...embedding, rank: embedding.rank + 1 }).total).toBeGreaterThan(1.5 * 163 * 64);
    expect(factored.totals.embeddingBytes).toBe(embedding.bytes);
    expect(factored.totals.headBytes).toBe(embedding.bytes);
  });

  it.each<[PlanOptions, RegExp]>([
    [{ method: "dbf", envelope: 2 }, /choose mdbf/],
    [{ envelope: 4 }, /choose mdbf/],
    [{ method: "mdbf", envelope: 65 }, /1 to 64/],
    [{ method: "onebit", paths: 2 }, /one full-rank/],
    [{ method: "nanoquant", init: "dual-svid" }, /starts by admm/],
    [{ method: "onebit", init: "admm" }, /svd or nmf or copy/],
    [{ embedMethod: "factored", embedBits: 8 }, /8 bits/],
    [{ embedBpw: 1 }, /stored by rows/],
    [{ embedMethod: "factored", embedBpw: 17 }, /at most 16/],
    [{ allocate: "loss", kvFactor: 2 }, /k\/v factor/],
    [{ allocate: "loss", method: "onebit" }, /no ranks/],
    [{ allocate: "uniform", allocateForms: [{ paths: 1, envelope: 1 }] }, /uniformly/],
    [{ allocateForms: [{ paths: 1, envelope: 1 }], paths: 2 }, /one of them/],
    [{ allocateForms: [{ paths: 1, envelope: 1 }], method: "littlebit" }, /auto or mdbf/],
  ])("refuses %o in one sentence", (options, words) => {
    const { code, message } = refusal(options);
    expect(code).toBe("usage");
    expect(message).toMatch(words);
    expect(message).toMatch(oneSentence);
  });

  it("says the smallest factored table that there is", () => {
    const { message, code } = refusal({ bpw: 4, embedMethod: "factored", embedBpw: 0.01 });
    expect(code).toBe("input");
    const smallest = Number(/at least ([\d.]+)/.exec(message)![1]);
    expect(plan({ bpw: 4, embedMethod: "factored", embedBpw: smallest }).embedding.rank).toBe(1);
  });
});

describe("plan files", () => {
  const again = (text: string) => plan({ plan: parsePlanFile(text, "plan.json") });

  it.each<PlanOptions>([
    { bpw: 2 },
    { method: "littlebit", bpw: 3, keepFirst: 1, scaleBits: 8 },
    { method: "mdbf", envelope: 4, paths: 2, bpw: 9 },
    { method: "onebit", keepLast: 1 },
  ])("%o: what is written is read back", (options) => {
    const made = plan(options);
    const read = again(JSON.stringify(planToFile(made)));
    expect(read.rows).toEqual(made.rows);
    expect(read.totals).toEqual(made.totals);
    const { method, init, factoriser } = made;
    expect(read).toMatchObject({ method, init, factoriser, allocation: { kind: "file" } });
    expect(planToFile(read)).toEqual(planToFile(made));
  });

  it("mixes methods, forms and ranks, and keeps linears dense", () => {
    const file = planToFile(plan({ method: "dbf", bpw: 3 }));
    const name = (layer: number, role: (typeof LINEAR_ROLES)[number]) => spec.names.linear({ layer, role });
    file.linears[name(0, "q")] = { method: "mdbf", envelope: 2, ranks: [20, 7] };
    file.linears[name(1, "down")] = { keep: "dense" };
    file.linears[name(2, "up")] = { method: "onebit", scaleBits: 8 };
    file.linears[name(2, "v")] = { rank: 9 };
    const { rows, totals } = again(JSON.stringify(file));
    const row = (layer: number, role: string) =>
      rows.find(({ site }) => site.layer === layer && site.role === role)!;
    expect(row(0, "q")).toMatchObject({ method: "mdbf", rank: 20, ranks: [20, 7], paths: 2, envelope: 2 });
    expect(row(1, "down")).toMatchObject({ kind: "dense", bpw: 16 });
    expect(row(2, "up")).toMatchObject({ kind: "onebit", scaleBits: 8 });
    expect(row(2, "v")).toMatchObject({ method: "dbf", rank: 9, paths: 1 });
    expect(totals.linearBytes).toBe(rows.reduce((sum, { bytes }) => sum + bytes, 0));
  });

  const good = planToFile(plan({ method: "dbf", bpw: 3 }));
  const q = spec.names.linear({ layer: 0, role: "q" });
  const changed = (entry: unknown): string =>
    JSON.stringify({ ...good, linears: { ...good.linears, [q]: entry } });
  it.each<[string, string, RegExp]>([
    ["no JSON", "{", /not JSON/],
    ["a list", "[1]", /top level/],
    ["another version", JSON.stringify({ ...good, subbitPlan: 9 }), /subbitPlan/],
    ["an unknown method", JSON.stringify({ ...good, method: "magic" }), /"magic"/],
    ["a start that the method does not know", JSON.stringify({ ...good, init: "svd" }), /starts by admm/],
    [
      "a factoriser of another method",
      JSON.stringify({ ...good, factoriser: "auto" }),
      /leave "factoriser" out/,
    ],
    [
      "a linear too many",
      JSON.stringify({ ...good, linears: { ...good.linears, lm: { rank: 3 } } }),
      /no such linear/,
    ],
    ["a linear too few", changed(undefined), new RegExp(`no entry for ${q}`)],
    [
      "a prototype's name",
      `{"subbitPlan":1,"method":"dbf","linears":{"__proto__":{"rank":3},"toString":{"rank":3}}}`,
      /toString/,
    ],
    ["rank 0", changed({ rank: 0 }), /rank/],
    ["half a rank", changed({ rank: 1.5 }), /rank/],
    ["a rank beyond any use", changed({ rank: 1e6 }), /at most 1024/],
    ["a rank beyond the singular vectors", changed({ method: "littlebit", rank: 65 }), /at most 64/],
    ["neither rank nor ranks", changed({ paths: 2 }), /neither/],
    ["both", changed({ rank: 3, ranks: [3] }), /both/],
    ["paths that are not the ranks'", changed({ ranks: [3, 4], paths: 3 }), /3 paths but 2 ranks/],
    ["a rank for onebit", changed({ method: "onebit", rank: 3 }), /has none/],
    ["envelopes of dbf", changed({ rank: 3, envelope: 2 }), /mdbf/],
    ["scales of 4 bits", changed({ rank: 3, scaleBits: 4 }), /scaleBits/],
    ["another shape", changed({ rank: 3, rows: 65 }), /65 x 64/],
    ["a field that means nothing", changed({ rank: 3, colour: "red" }), /colour/],
    ["dense with a rank", changed({ keep: "dense", rank: 3 }), /./],
    [
      "everything dense",
      JSON.stringify({
        ...good,
        linears: Object.fromEntries(Object.keys(good.linears).map((name) => [name, { keep: "dense" }])),
      }),
      /every linear/,
    ],
  ])("refuse %s in one sentence", (_, text, words) => {
    try {
      again(text);
    } catch (error) {
      expect((error as SubbitError).code).toBe("input");
      expect((error as SubbitError).message).toMatch(words);
      expect((error as SubbitError).message).toMatch(/^[^\n]*[.]$/);
      return;
    }
    throw new Error("It was accepted.");
  });

  it.each<PlanOptions>([
    { bpw: 1 },
    { bytes: 1e6 },
    { paths: 2 },
    { keepFirst: 1 },
    { method: "dbf" },
    { scaleBits: 8 },
    { allocate: "loss" },
  ])("exclude %o, which they decide", (options) => {
    const { code, message } = refusal({ ...options, plan: good });
    expect(code).toBe("usage");
    expect(message).toMatch(/plan file/);
  });
});
