/** Manifests that do not fit together, or not with their tensors, are refused with one sentence. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ODD_SIZES, open, packedModel, type Form } from "../../test/packed-models.js";
import { SubbitError } from "../errors.js";
import type { Linear } from "../linears/types.js";
import type { FactoredEntry, SubbitManifest } from "./manifest.js";
import { planSubbit } from "./subbit-write.js";

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
    ["OneBit scales of 16 bits", (m) => set(m.linears[q], { scaleBits: 16 }), /dtype U8/],
    [
      "a OneBit linear as dense",
      (m) => set(m.linears[q], { kind: "dense", bits: 16 }),
      /no tensor .*q_proj\.weight/,
    ],
    ["codes of another width", (m) => set(m.linears[v], { bits: 4 }), /\[10, 10\].*\[10, 19\]/],
    ["codes of no width", (m) => set(m.linears[v], { bits: 3 }), /malformed at linears/],
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
      /malformed at linears.*version 1\.7 .*knows 1\.2/,
    ],
  ])("with %s are refused with a sentence", async (_, edit, message) => {
    const failure = await open(await planSubbit(packed), edit).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(SubbitError);
    expect((failure as SubbitError).code).toBe("input");
    expect((failure as SubbitError).message).toMatch(message);
    expect((failure as SubbitError).message).toMatch(/^[^\n]+\.$/);
  });

  it("by any damage at all open or are refused with one input error", async () => {
    const plan = await planSubbit(packed);
    const odd = fc.constantFrom<unknown>(
      0,
      -1,
      1.5,
      7,
      2 ** 24,
      2 ** 53,
      1e300,
      null,
      "",
      "8",
      [],
      {},
      [1, 2],
      true,
    );
    const entryNames = [...Object.keys(plan.manifest.linears), "embedding", "head"];
    const fields = [
      "kind",
      "rows",
      "cols",
      "rank",
      "ranks",
      "paths",
      "envelope",
      "midScale",
      "scaleBits",
      "bits",
    ];
    const damage = fc.record({
      entry: fc.constantFrom(...entryNames),
      field: fc.constantFrom(...fields),
      value: fc.oneof(odd, fc.constantFrom<unknown>("onebit", "factored", "dense", 2, 4, 8, 16, false)),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 3 }), async (damages) => {
        const opened = open(plan, (m) => {
          for (const { entry, field, value } of damages) {
            const target =
              entry === "embedding" ? m.embedding : entry === "head" ? m.head! : m.linears[entry];
            set(target, { [field]: value });
          }
        });
        const failure = await opened.then(
          () => undefined,
          (error: unknown) => error,
        );
        if (failure === undefined) return;
        expect(failure).toBeInstanceOf(SubbitError);
        expect((failure as SubbitError).code).toBe("input");
      }),
      { numRuns: 300 },
    );
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
