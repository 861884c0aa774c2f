/** The figures as tables for a terminal, ratios first. */
import { formatBytes, toPrecision } from "../output/format.js";
import { renderTable, type Column } from "../output/table.js";
import type { Row } from "./measure.js";
import type { Ratio } from "./ratios.js";
import type { Spread } from "./statistics.js";

const right = (title: string): Column => ({ title, align: "right" });

export function renderRatios(ratios: readonly Ratio[]): string {
  const [first] = ratios;
  const decode = Object.keys(first.decode);
  const prefill = Object.keys(first.prefill);
  return renderTable(
    [
      { title: "ours is so many times faster than" },
      right("threads"),
      ...decode.map((context) => right(`decode @${context}`)),
      ...prefill.map((length) => right(`prefill ${length}`)),
    ],
    ratios.map((ratio) => [
      ratio.against,
      String(ratio.threads),
      ...decode.map((context) => spreadCell(ratio.decode[context])),
      ...prefill.map((length) => spreadCell(ratio.prefill[length])),
    ]),
  );
}

export function renderRows(rows: readonly Row[]): string {
  const [first] = rows;
  const decode = Object.keys(first.decode);
  const prefill = Object.keys(first.prefill);
  return renderTable(
    [
      { title: "file" },
      { title: "engine" },
      right("threads"),
      ...decode.map((context) => right(`decode @${context}`)),
      ...prefill.map((length) => right(`prefill ${length}`)),
      right("load ms"),
      right("file"),
      right("RSS"),
      right("peak"),
      right("idle CPU"),
      right("others' cores"),
    ],
    rows.map((row) => [
      row.file,
      row.engine,
      row.auto ? `auto: ${row.threads}` : String(row.threads),
      ...decode.map((context) => spreadCell(row.decode[context])),
      ...prefill.map((length) => spreadCell(row.prefill[length])),
      toPrecision(row.loadMs, 3),
      formatBytes(row.fileBytes),
      formatBytes(row.rssBytes),
      formatBytes(row.peakRssBytes),
      row.idleCpuPercent === undefined ? "" : `${row.idleCpuPercent.toFixed(1)} %`,
      row.othersCores === undefined ? "" : row.othersCores.median.toFixed(1),
    ]),
  );
}

/** `612 (590-640)` */
function spreadCell({ median, min, max }: Spread): string {
  return `${toPrecision(median, 3)} (${toPrecision(min, 3)}-${toPrecision(max, 3)})`;
}
