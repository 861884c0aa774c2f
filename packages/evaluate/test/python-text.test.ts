import { describe, expect, it } from "vitest";
import { capitalize, codePoints, strip, trailingSpaces } from "../src/tasks/python-text.js";

describe("strings as Python has them", () => {
  it("strip what str.isspace holds for white space", () => {
    expect(strip("\u001c\u0085\u00a0 a b\u2003\n")).toBe("a b");
    expect(strip("\ufeffa\ufeff")).toBe("\ufeffa\ufeff");
    expect(strip(" \t\n")).toBe("");
    expect(trailingSpaces("a \u3000")).toBe(2);
    expect(trailingSpaces("\n\n")).toBe(2);
  });

  it("have the length of their code points", () => {
    expect(codePoints("aé😀")).toBe(3);
  });

  it.each([
    ["the NASA Page", "The nasa page"],
    ["élise Smiles", "Élise smiles"],
    ["", ""],
    ["😀A", "😀a"],
    ["ßA", "Ssa"],
    ["ǆA", "ǅa"],
    ["აბ", "აბ"],
    ["ŉA", "ʼNa"],
    ["ᾳA", "ᾼa"],
    ["ᾲ", "Ὰͅ"],
    ["ΣΑΣ", "Σας"],
    ["İX", "İx"],
  ])("capitalize %s to %s", (text, expected) => {
    expect(capitalize(text)).toBe(expected);
  });
});
