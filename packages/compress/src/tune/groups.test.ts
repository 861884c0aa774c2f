import { LINEAR_ROLES } from "@subbit/core";
import { describe, expect, it } from "vitest";
import { inputOwner, inputOwners, linearGroups } from "./groups.js";

const METHODS = ["dbf", "nanoquant", "littlebit", "mdbf", "onebit"] as const;

describe("linearGroups", () => {
  it.each(METHODS)("has every linear once, for %s under both schedules", (method) => {
    for (const schedule of ["tuned", "official"] as const) {
      expect([...linearGroups(method, schedule, LINEAR_ROLES).flat()].sort()).toEqual(
        [...LINEAR_ROLES].sort(),
      );
      const ungated = LINEAR_ROLES.filter((role) => role !== "gate");
      expect([...linearGroups(method, schedule, ungated).flat()].sort()).toEqual([...ungated].sort());
    }
  });

  it("tunes the dense rest before q and before k alone in DBF's own order", () => {
    expect(linearGroups("dbf", "official", LINEAR_ROLES)).toEqual([
      ["q", "v", "o"],
      ["k", "up", "gate", "down"],
    ]);
    expect(linearGroups("dbf", "tuned", LINEAR_ROLES)).toEqual(
      linearGroups("littlebit", "official", LINEAR_ROLES),
    );
  });
});

it("q, k and v read one input, gate and up another, o and down their own", () => {
  const owners = LINEAR_ROLES.map((role) => inputOwner(role, LINEAR_ROLES));
  expect(owners).toEqual(
    LINEAR_ROLES.map((role) => (["k", "v"].includes(role) ? "q" : role === "up" ? "gate" : role)),
  );
  expect([...new Set(owners)]).toEqual(inputOwners(LINEAR_ROLES));
  const ungated = LINEAR_ROLES.filter((role) => role !== "gate");
  expect(inputOwner("up", ungated)).toBe("up");
  expect(inputOwners(ungated)).toEqual(["q", "o", "up", "down"]);
});
