/** The plan of a compression as a table: what every kind of linear becomes and what every byte of the file holds. */
import type { Plan, PlanRow } from "@subbit/compress";
import { formatBytes, toPrecision } from "../output/format.js";
import { renderPairs, renderTable } from "../output/table.js";

export function describePlan(plan: Plan): string {
  const { totals, allocation } = plan;
  const byLoss = allocation.kind === "loss";
  const table = renderTable(
    [
      { title: "linear" },
      { title: "count", align: "right" },
      { title: "shape", align: "right" },
      { title: "as" },
      { title: "rank", align: "right" },
      { title: "bpw", align: "right" },
      ...(byLoss ? [{ title: "uniform", align: "right" as const }] : []),
      { title: "paper bpw", align: "right" },
      { title: "bytes", align: "right" },
    ],
    groupsOf(plan.rows).map((rows) => rowCells(rows, plan)),
  );
  const pairs = [
    [
      "method",
      `${plan.method}, started by ${plan.init}${plan.schedule === "official" ? ", official schedule" : ""}`,
    ],
    [
      "linears",
      `${toPrecision(totals.compressedBpw, 4)} bits per weight where compressed (${toPrecision(totals.paperBpw, 4)} by the paper's formula), ` +
        `${toPrecision(totals.bpw, 4)} over all`,
    ],
    ["ranks", allocationWords(plan)],
    ["embeddings", `${formatBytes(totals.embeddingBytes + totals.headBytes)}, ${tableWords(plan)}`],
    [
      "weight file",
      `${formatBytes(totals.fileBytes)} of ${formatBytes(totals.teacherBytes)} (${toPrecision((100 * totals.fileBytes) / totals.teacherBytes, 3)} %)`,
    ],
  ];
  return `${table}\n\n${renderPairs(pairs)}`;
}

/** How the ranks came about and what that is predicted to gain. */
export function allocationWords({ allocation }: Plan): string {
  if (allocation.kind === "uniform") return "the same bits per weight for every linear";
  if (allocation.kind === "file") return "from the plan file";
  const { objective, objectiveUniform, predicted, predictedUniform } = allocation;
  const gain = objectiveUniform > 0 ? 100 * (1 - objective / objectiveUniform) : 0;
  return (
    `by predicted loss: ${toPrecision(gain, 3)} % less weighted error than uniform ranks ` +
    `(second-order estimate ${toPrecision(predicted, 3)} instead of ${toPrecision(predictedUniform, 3)} nats a token, before training)`
  );
}

export function tableWords({ embedding, head, embedBits }: Plan): string {
  if (embedding.kind === "dense") return `rows of ${embedBits} bits`;
  const both = head === undefined ? "factored" : "both factored";
  return `${both}, rank ${embedding.rank}, ${toPrecision(embedding.bpw, 4)} bits per weight`;
}

/** Rows of one role and one treatment share a line; their ranks may differ. */
function groupsOf(rows: readonly PlanRow[]): PlanRow[][] {
  const groups = new Map<string, PlanRow[]>();
  for (const row of rows) {
    const { site, kind, method, paths, envelope, scaleBits } = row;
    const key = [site.role, kind, method, paths, envelope, scaleBits, row.rows, row.cols].join(" ");
    const group = groups.get(key);
    if (group) group.push(row);
    else groups.set(key, [row]);
  }
  return [...groups.values()];
}

function rowCells(rows: readonly PlanRow[], plan: Plan): string[] {
  const [first] = rows;
  const mean = (value: (row: PlanRow) => number) =>
    rows.reduce((sum, row) => sum + value(row), 0) / rows.length;
  const { allocation } = plan;
  const uniform =
    allocation.kind === "loss"
      ? new Map(allocation.linears.map((one) => [one.name, one.uniformBpw]))
      : undefined;
  return [
    first.site.role,
    String(rows.length),
    `${first.rows} x ${first.cols}`,
    formWords(first, plan),
    first.kind === "factored" ? rankWords(rows) : "",
    toPrecision(
      mean((row) => row.bpw),
      4,
    ),
    ...(uniform
      ? [
          toPrecision(
            mean((row) => uniform.get(row.name) ?? row.bpw),
            4,
          ),
        ]
      : []),
    toPrecision(
      mean((row) => row.paperBpw),
      4,
    ),
    formatBytes(rows.reduce((sum, row) => sum + row.bytes, 0)),
  ];
}

/** `1 path`, `2 paths, l 4, 8-bit scales`, `onebit`, `dense`; another method than the plan's is named. */
function formWords(row: PlanRow, { method }: Plan): string {
  if (row.kind === "dense") return "dense";
  const own = row.method ?? method;
  return [
    ...(row.kind === "onebit" || own !== method ? [own] : []),
    ...(row.kind === "onebit" ? [] : [row.paths > 1 ? `${row.paths} paths` : "1 path"]),
    ...(row.envelope > 1 ? [`l ${row.envelope}`] : []),
    ...(row.scaleBits === 16 ? [] : [`${row.scaleBits}-bit scales`]),
  ].join(", ");
}

function rankWords(rows: readonly PlanRow[]): string {
  const texts = new Set(rows.map(({ rank, ranks }) => (ranks ?? [rank]).join("+")));
  if (texts.size === 1) return [...texts][0];
  const all = rows.flatMap(({ rank, ranks }) => ranks ?? [rank]);
  return `${Math.min(...all)}-${Math.max(...all)}`;
}
