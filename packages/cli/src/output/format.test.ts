import { describe, expect, it } from "vitest";
import { formatBytes, formatSeconds, toPrecision } from "./format.js";
import { renderTable } from "./table.js";

describe("figures for people", () => {
  it("keep three digits of bytes in decimal units", () => {
    expect([0, 999, 1000, 22_036_144, 999_600].map(formatBytes)).toEqual([
      "0 B",
      "999 B",
      "1.00 kB",
      "22.0 MB",
      "1.00 MB",
    ]);
  });

  it("carry seconds into minutes and hours", () => {
    expect([0.04, 9.96, 59.6, 185, 7_830].map(formatSeconds)).toEqual([
      "0.0 s",
      "10 s",
      "1 min 00 s",
      "3 min 05 s",
      "2 h 10 min",
    ]);
  });

  it("keep significant digits", () => {
    expect([0, 0.012345, 12.345, 1234.5].map((value) => toPrecision(value, 3))).toEqual([
      "0",
      "0.0123",
      "12.3",
      "1235",
    ]);
  });
});

describe("renderTable", () => {
  it("aligns columns by content", () => {
    const table = renderTable(
      [{ title: "name" }, { title: "bpw", align: "right" }],
      [
        ["q", "0.8"],
        ["down_proj", "10.25"],
      ],
    );
    expect(table.split("\n")).toEqual([
      "name         bpw",
      "---------  -----",
      "q            0.8",
      "down_proj  10.25",
    ]);
  });
});
