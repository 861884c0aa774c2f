import { LINEAR_ROLES } from "@subbit/core";
import { describe, expect, it } from "vitest";
import { INPUT_OWNERS, inputOwner, linearGroups } from "./groups.js";

const METHODS = ["dbf", "nanoquant", "littlebit", "mdbf", "onebit"] as const;

describe("linearGroups", () => {
  it.each(METHODS)("has every linear once, for %s under both schedules", (method) => {
    for (const schedule of ["tuned", "official"] as const) {
      expect([...linearGroups(method, schedule).flat()].sort()).toEqual([...LINEAR_ROLES].sort());
    }
  });

  it("tunes the dense rest before q and before k alone in DBF's own order", () => {
    expect(linearGroups("dbf", "official")).toEqual([
      ["q", "v", "o"],
      ["k", "up", "gate", "down"],
    ]);
    expect(linearGroups("dbf", "tuned")).toEqual(linearGroups("littlebit", "official"));
  });
});

it("q, k and v read one input, gate and up another, o and down their own", () => {
  expect(LINEAR_ROLES.map(inputOwner)).toEqual(
    LINEAR_ROLES.map((role) => (["k", "v"].includes(role) ? "q" : role === "up" ? "gate" : role)),
  );
  expect(new Set(LINEAR_ROLES.map(inputOwner))).toEqual(new Set(INPUT_OWNERS));
});
