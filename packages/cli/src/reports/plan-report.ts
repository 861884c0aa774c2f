/** The plan of a compression as a table: what every kind of linear becomes and what every byte of the file holds. */
import type { Plan, PlanRow } from "@subbit/compress";
import { formatBytes, toPrecision } from "../output/format.js";
import { renderPairs, renderTable } from "../output/table.js";

export function describePlan(plan: Plan): string {
  const { totals } = plan;
  const table = renderTable(
    [
      { title: "linear" },
      { title: "count", align: "right" },
      { title: "shape", align: "right" },
      { title: "as" },
      { title: "rank", align: "right" },
      { title: "bpw", align: "right" },
      { title: "paper bpw", align: "right" },
      { title: "bytes", align: "right" },
    ],
    groupsOf(plan.rows).map((rows) => rowCells(rows)),
  );
  const pairs = [
    ["method", `${plan.method}, started by ${plan.init}`],
    [
      "linears",
      `${toPrecision(totals.compressedBpw, 4)} bits per weight where compressed (${toPrecision(totals.paperBpw, 4)} by the paper's formula), ` +
        `${toPrecision(totals.bpw, 4)} over all`,
    ],
    ["embeddings", `${formatBytes(totals.embeddingBytes + totals.headBytes)} at ${plan.embedBits} bits`],
    [
      "weight file",
      `${formatBytes(totals.fileBytes)} of ${formatBytes(totals.teacherBytes)} (${toPrecision((100 * totals.fileBytes) / totals.teacherBytes, 3)} %)`,
    ],
  ];
  return `${table}\n\n${renderPairs(pairs)}`;
}

/** Rows of one role and one treatment share a line. */
function groupsOf(rows: readonly PlanRow[]): PlanRow[][] {
  const groups = new Map<string, PlanRow[]>();
  for (const row of rows) {
    const key = [row.site.role, row.kind, row.rank, row.paths, row.rows, row.cols].join(" ");
    const group = groups.get(key);
    if (group) group.push(row);
    else groups.set(key, [row]);
  }
  return [...groups.values()];
}

function rowCells(rows: readonly PlanRow[]): string[] {
  const [first] = rows;
  const factored = first.kind === "factored";
  const paths = first.paths > 1 ? `${first.paths} paths` : "1 path";
  return [
    first.site.role,
    String(rows.length),
    `${first.rows} x ${first.cols}`,
    factored ? paths : "dense",
    factored ? String(first.rank) : "",
    toPrecision(first.bpw, 4),
    toPrecision(first.paperBpw, 4),
    formatBytes(rows.reduce((sum, row) => sum + row.bytes, 0)),
  ];
}
