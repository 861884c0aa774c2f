import { describe, expect, it } from "vitest";
import { choose, methodForm } from "./choice.js";
import type { FactoriseMethod, FactoriseOptions } from "./types.js";

describe("methodForm", () => {
  it.each([
    ["dbf", { kind: "factored", midScale: true, paths: 1, envelope: 1, inits: ["admm"] }],
    ["nanoquant", { kind: "factored", midScale: false, paths: 1, envelope: 1, inits: ["admm"] }],
    ["littlebit", { kind: "factored", midScale: true, paths: 2, inits: ["dual-svid", "itq", "admm"] }],
    ["mdbf", { kind: "factored", midScale: true, envelopes: true, inits: ["admm", "closed-form"] }],
    ["onebit", { kind: "onebit", inits: ["svd", "nmf", "copy"] }],
  ] as const)("tells how %s stores a linear and starts", (method, form) => {
    expect(methodForm(method)).toMatchObject(form);
  });

  it("tells which starts know ranks above both sides", () => {
    expect(methodForm("littlebit").overcomplete).toBe(false);
    expect(methodForm("littlebit", "admm").overcomplete).toBe(true);
    expect(methodForm("auto").overcomplete).toBe(true);
  });

  it("names what there is", () => {
    expect(() => methodForm("magic" as FactoriseMethod)).toThrow(/auto, nanoquant, dbf.* or onebit/);
    expect(() => methodForm("toString" as FactoriseMethod)).toThrow(/does not exist/);
    expect(() => methodForm("onebit", "admm")).toThrow(/svd, nmf and copy/);
  });
});

describe("choose", () => {
  it.each<[string, FactoriseOptions, RegExp]>([
    ["a start that the method does not know", { method: "onebit", init: "admm" }, /svd, nmf and copy/],
    ["a start of another method", { method: "dbf", init: "itq", rank: 2 }, /it knows admm/],
    ["envelopes where there are none", { method: "dbf", envelope: 4, rank: 2 }, /use mdbf/],
    ["half an envelope", { method: "mdbf", envelope: 1.5, rank: 2 }, /whole number/],
    ["a rank of onebit", { method: "onebit", rank: 2 }, /leave out rank/],
    ["paths of onebit", { method: "onebit", paths: 2 }, /leave out rank, paths/],
    ["no size", { method: "dbf" }, /one of a rank, ranks by path, and bits/],
    ["two sizes", { rank: 2, bpw: 1 }, /one of a rank/],
    ["ranks that do not fit the paths", { ranks: [2, 3], paths: 3 }, /2 ranks were given for 3 paths/],
    ["scales of 12 bits", { rank: 2, scaleBits: 12 as 8 }, /give 16 or 8/],
    ["half a step of refinement", { rank: 2, refineSteps: 0.5 }, /whole number from 0/],
    ["an unknown schedule", { rank: 2, schedule: "slow" as "tuned" }, /tuned or official/],
  ])("refuses %s", (_name, options, message) => {
    expect(() => choose(40, 30, options)).toThrow(
      expect.objectContaining({ code: "usage", message: expect.stringMatching(message) as string }),
    );
  });

  it.each<[string, FactoriseOptions]>([
    ["less than rank 1", { method: "mdbf", envelope: 8, bpw: 1 }],
    ["less than a sign for every weight", { method: "onebit", bpw: 1 }],
  ])("refuses a budget of %s", (_name, options) => {
    expect(() => choose(40, 30, options)).toThrow(expect.objectContaining({ code: "input" }));
  });

  it("spends what 8-bit scales save on rank", () => {
    const at = (scaleBits: 16 | 8) => choose(256, 256, { method: "dbf", bpw: 1, scaleBits });
    const [wide, narrow] = [at(16), at(8)];
    if (wide.kind !== "factored" || narrow.kind !== "factored") throw new Error("dbf is factored.");
    expect(narrow.ranks[0]).toBeGreaterThan(wide.ranks[0]);
  });

  it("takes the papers' iteration counts in the official schedule", () => {
    const iterations = (method: FactoriseMethod) =>
      choose(64, 64, { method, rank: 4, schedule: "official" }).iterations;
    expect([iterations("dbf"), iterations("nanoquant"), iterations("mdbf")]).toEqual([260, 400, 260]);
  });
});
