// What an envelope of rank l costs a linear at batch 1, three ways of one sum in turn:
//
//   node bench/envelope.mjs [--rows 4096] [--rank 1024] [--cols 4096] [--envelopes 1,2,4,8] [--threads 1,2] [--rounds 21] [--json FILE]
//
// shared: 2 l sign products, the l terms of a factor in one pass over its signs (how models run); apart: the same products, a pass
// over the signs for each; pairs: the sum written out, l^2 products of two factors each. Rounds go through all of them; ratios are
// taken round by round, against the same linear with l = 1 and of the other ways against `shared`. Needs `npm run build`.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { ratioOf, spreadOf } from "../packages/cli/dist/bench/statistics.js";
import { KernelBoard } from "../packages/runtime/dist/bench/index.js";

const WARM_UP_ROUNDS = 4;
const FORMS = ["shared", "apart", "pairs"];

export async function benchEnvelope({ rows, rank, cols, envelopes, threads, rounds }) {
  const measured = [];
  for (const count of threads) {
    const board = await KernelBoard.create(count);
    try {
      const kernels = envelopes
        .flatMap((envelope) => FORMS.map((terms) => ({ envelope, terms })))
        // With one term all ways are one.
        .filter(({ envelope, terms }) => envelope > 1 || terms === "shared")
        .map((kernel) => ({
          ...kernel,
          place: board.add({ kind: "factored", rows, rank, cols, tokens: 1, ...kernel }),
          times: [],
        }));
      for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
        for (const { place, times } of kernels) {
          const ms = await board.run(place);
          if (round >= 0) times.push(ms);
        }
      }
      const spreads = kernels.map(({ envelope, terms, times }) => ({
        envelope,
        terms,
        all: spreadOf(times),
      }));
      const find = (envelope, terms) =>
        spreads.find((spread) => spread.envelope === envelope && spread.terms === terms)?.all;
      const one = find(1, "shared");
      for (const { envelope, terms, all } of spreads) {
        measured.push({
          threads: count,
          envelope,
          terms,
          milliseconds: all,
          ...(one && { ofOneTerm: ratioOf(all, one) }),
          ofShared: ratioOf(all, find(envelope, "shared")),
        });
      }
    } finally {
      await board.dispose();
    }
  }
  return { rows, rank, cols, rounds, measured };
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({
    options: {
      rows: { type: "string", default: "4096" },
      rank: { type: "string", default: "1024" },
      cols: { type: "string", default: "4096" },
      envelopes: { type: "string", default: "1,2,4,8" },
      threads: { type: "string", default: "1,2" },
      rounds: { type: "string", default: "21" },
      json: { type: "string" },
    },
  });
  const numbers = (text) => text.split(",").map(Number);
  const [rows, rank, cols, rounds] = ["rows", "rank", "cols", "rounds"].map((name) => Number(values[name]));
  const envelopes = numbers(values.envelopes);
  const result = await benchEnvelope({
    rows,
    rank,
    cols,
    rounds,
    envelopes,
    threads: numbers(values.threads),
  });
  if (values.json) writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`);
  const times = (ratio) => (ratio === undefined ? "" : `${ratio.median.toFixed(2)}x`);
  process.stdout.write(`${rows} x ${rank} x ${cols}, one token: medians of ${rounds} rounds\n`);
  for (const { threads, envelope, terms, milliseconds, ofOneTerm, ofShared } of result.measured) {
    process.stdout.write(
      `${threads} threads  l = ${String(envelope).padEnd(3)} ${terms.padEnd(7)} ${milliseconds.median.toFixed(3).padStart(9)} ms` +
        `  of l = 1: ${times(ofOneTerm).padStart(7)}  of shared: ${times(ofShared).padStart(6)}\n`,
    );
  }
}
