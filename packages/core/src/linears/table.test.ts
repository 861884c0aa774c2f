import { describe, expect, it } from "vitest";
import { randomDense, randomFactored } from "../../test/random-linears.js";
import { embedTokens } from "../model/reference.js";
import { denseValues } from "./dense-linear.js";
import { reconstruct } from "./factored-linear.js";
import { reduceDense } from "./narrow.js";
import { tableRows, tableValues } from "./table.js";
import type { Table } from "./types.js";

const VOCAB = 37;
const WIDTH = 21;

const TABLES: readonly [string, Table][] = [
  ["16 bits", reduceDense(randomDense(VOCAB, WIDTH), 16)],
  ["2 bits", reduceDense(randomDense(VOCAB, WIDTH), 2)],
  ["one path", randomFactored(VOCAB, WIDTH, { ranks: [33] })],
  ["no middle scale", randomFactored(VOCAB, WIDTH, { midScale: false })],
  ["two paths of different rank", randomFactored(VOCAB, WIDTH, { ranks: [5, 40] })],
  ["envelopes", randomFactored(VOCAB, WIDTH, { ranks: [4, 2], envelope: 3 })],
];

describe("tables", () => {
  it.each(TABLES)("%s: the rows asked for are those of the whole, to the bit", (_, table) => {
    const whole = tableValues(table);
    expect(whole).toEqual(table.kind === "dense" ? denseValues(table) : reconstruct(table));
    const ids = [3, 36, 0, 3];
    const rows = tableRows(table, ids);
    ids.forEach((id, i) =>
      expect(rows.subarray(i * WIDTH, (i + 1) * WIDTH)).toEqual(whole.subarray(id * WIDTH, (id + 1) * WIDTH)),
    );
    expect(embedTokens(table, ids)).toEqual(rows);
    expect(tableRows(table, []).length).toBe(0);
    expect(() => tableRows(table, [VOCAB])).toThrow(/37 rows/);
    expect(() => embedTokens(table, [0, VOCAB])).toThrow(/Token id 37 at position 1/);
  });
});
