import { inputError, SubbitError } from "@subbit/core";
import { describe, expect, it } from "vitest";
import { failureOf } from "./exit-codes.js";

const systemError = (code: string, path?: string): Error =>
  Object.assign(new Error(`${code}: x`), { code, path });

describe("failureOf", () => {
  it("follows the contract's codes", () => {
    expect(failureOf(inputError("a.")).exitCode).toBe(3);
    expect(failureOf(new SubbitError("usage", "a.")).exitCode).toBe(2);
    expect(failureOf(new SubbitError("resources", "a.")).exitCode).toBe(4);
    expect(failureOf(new SubbitError("interrupted", "a.")).exitCode).toBe(130);
    expect(failureOf(new SubbitError("internal", "a.")).exitCode).toBe(1);
    expect(failureOf(new TypeError("x is undefined")).exitCode).toBe(1);
  });

  it("knows what the operating system means, also inside a cause", () => {
    expect(failureOf(systemError("ENOSPC", "/a/b")).exitCode).toBe(4);
    expect(
      failureOf(inputError("The file cannot be written.", { cause: systemError("ENOSPC") })).exitCode,
    ).toBe(4);
    expect(failureOf(systemError("EACCES", "/a/b"))).toMatchObject({ exitCode: 1, code: "failed" });
    expect(failureOf(systemError("EACCES", "/a/b")).sentence).toContain("/a/b");
    expect(failureOf(systemError("ENOENT")).exitCode).toBe(3);
    expect(failureOf(new RangeError("Array buffer allocation failed")).exitCode).toBe(4);
  });

  it("makes one sentence of many lines", () => {
    expect(failureOf(new SubbitError("input", "One\n  two.")).sentence).toBe("One two.");
  });
});
