/** The table of kernels for a terminal. */
import type { KernelReport } from "@subbit/runtime/bench";
import { toPrecision } from "../output/format.js";
import { renderTable } from "../output/table.js";

export function renderKernels({ simd, bounds, rows }: KernelReport): string {
  const figure = ({ median, best }: { median: number; best: number }): string =>
    `${toPrecision(median, 3)} (${toPrecision(best, 3)})`;
  const percent = (share: number | undefined): string =>
    share === undefined ? "" : `${Math.round(100 * share)} %`;
  const tables = bounds.map(({ threads, arithmetic, loads }) =>
    renderTable(
      [
        { title: `kernels, ${threads === 1 ? "1 thread" : `${threads} threads`}, ${simd} SIMD` },
        { title: "Gmac/s", align: "right" },
        { title: "weights GB/s", align: "right" },
        { title: "of arithmetic", align: "right" },
        { title: "of loads", align: "right" },
      ],
      [
        ["bound: vector arithmetic alone", figure(arithmetic)],
        ["bound: with its loads, all near", figure(loads)],
        ...rows
          .filter((row) => row.threads === threads)
          .map((row) => [
            row.name,
            figure(row.gmacs),
            figure(row.gigabytes),
            percent(row.shareOfArithmetic),
            percent(row.shareOfLoads),
          ]),
      ],
    ),
  );
  return tables.join("\n\n");
}
