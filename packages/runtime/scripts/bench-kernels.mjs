// Speed of the kernels, in place: `node packages/runtime/scripts/bench-kernels.mjs [threads ...]` after a build.
// Figures are medians (best) of several rounds through all kernels, tables and barriers included; the bounds are the
// sign kernel's inner loop without and with its loads of tables (src/bench/vector-bound.ts), measured beside every run.
import { benchKernels } from "../dist/bench/index.js";

const threads = process.argv.slice(2).map(Number);
const { simd, bounds, rows } = await benchKernels({
  threads: threads.length > 0 ? threads : [1, 2],
  rounds: 9,
});
const print = (...cells) =>
  process.stdout.write(cells.map((cell, i) => String(cell).padEnd(i === 0 ? 34 : 22)).join("") + "\n");
const figure = ({ median, best }, unit) => `${median.toFixed(1)} (${best.toFixed(1)}) ${unit}`;
const percent = (share) => (share === undefined ? "" : `${(100 * share).toFixed(0)} %`);
for (const { threads: count, arithmetic, loads } of bounds) {
  print(`${count} thread(s), ${simd} SIMD`, "speed", "weights", "of arithmetic", "of loads");
  print("bound: vector arithmetic", figure(arithmetic, "Gsmac/s"));
  print("bound: with loads of tables", figure(loads, "Gsmac/s"));
  for (const row of rows.filter((each) => each.threads === count)) {
    print(
      row.name,
      figure(row.gmacs, row.product.kind === "factored" ? "Gsmac/s" : "GMAC/s"),
      figure(row.gigabytes, "GB/s"),
      percent(row.shareOfArithmetic),
      percent(row.shareOfLoads),
    );
  }
}
process.exit(0);
