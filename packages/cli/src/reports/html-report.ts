/** `--report`: one HTML file that needs nothing else, with what a compression planned, did, gained and cost. */
import type { CompressResult, LossAllocation, Plan } from "@subbit/compress";
import { formatBytes, formatCount, formatSeconds, toPrecision } from "../output/format.js";
import { VERSION } from "../version.js";
import { qualityOf } from "./compress-report.js";
import { allocationWords, tableWords } from "./plan-report.js";
import { barPlot, linePlot, scatterPlot, svgOf } from "./plots.js";

export interface ReportFacts {
  /** What was compressed. */
  readonly title: string;
  readonly plan: Plan;
  /** Absent for a dry run. */
  readonly result?: CompressResult;
}

export async function htmlReport({ title, plan, result }: ReportFacts): Promise<string> {
  const sections = [
    section("What it is", pairsTable(summaryPairs(plan, result))),
    ...(result ? [section("Stages", stagesTable(result))] : []),
    ...(result ? await perplexitySection(result) : []),
    section(
      "Bits per weight",
      `<p>Of every linear, by its role; ${escape(allocationWords(plan))}.</p>` + (await bitsPlot(plan)),
    ),
    ...(plan.allocation.kind === "loss" ? [await lossSection(plan, plan.allocation)] : []),
    section("Where the bytes are", await bytesPlot(plan)),
    section("Every linear", linearsTable(plan)),
  ];
  return page(`${title}, ${toPrecision(plan.totals.bpw, 3)} bits per weight`, sections.join("\n"));
}

type Pair = readonly [name: string, value: string];

function summaryPairs(plan: Plan, result: CompressResult | undefined): Pair[] {
  const { totals } = plan;
  const quality = result ? qualityOf(result) : {};
  const figure = (name: string, value: number | undefined, digits = 4): Pair[] =>
    value === undefined ? [] : [[name, toPrecision(value, digits)]];
  return [
    ["method", `${plan.method}, started by ${plan.init}, ${plan.schedule} schedule`],
    [
      "bits per linear weight",
      `${toPrecision(totals.bpw, 4)}, every stored bit counted (${toPrecision(totals.paperBpw, 4)} by the paper's formula)`,
    ],
    [
      "weight file",
      `${formatBytes(totals.fileBytes)}; the teacher's has ${formatBytes(totals.teacherBytes)}`,
    ],
    ["embedding and head", tableWords(plan)],
    ...figure("perplexity of the teacher", quality.perplexityTeacher),
    ...figure("perplexity", quality.perplexity),
    ...figure("KL(teacher||packed), nats a token", quality.kl),
    ...figure("top-1 agreement", quality.top1Agreement),
    ...(result
      ? ([
          ["time", `${formatSeconds(result.seconds)} (CPU ${formatSeconds(result.cpuSeconds)})`],
          ["peak memory", formatBytes(result.peakRssBytes)],
        ] satisfies Pair[])
      : ([["state", "a plan; nothing has been made yet"]] satisfies Pair[])),
  ];
}

function stagesTable({ stages }: CompressResult): string {
  return table(
    ["stage", "time", "CPU time", "tokens", "loss before", "loss after", "perplexity"],
    stages.map((stage) => [
      stage.stage,
      formatSeconds(stage.seconds),
      formatSeconds(stage.cpuSeconds),
      stage.tokens === undefined ? "" : formatCount(stage.tokens),
      ...[stage.lossBefore, stage.lossAfter, stage.perplexity].map((value) =>
        value === undefined ? "" : toPrecision(value, 4),
      ),
    ]),
  );
}

async function perplexitySection({ stages, teacherPerplexity }: CompressResult): Promise<string[]> {
  const measured = [
    ...(teacherPerplexity === undefined ? [] : [{ stage: "teacher", perplexity: teacherPerplexity }]),
    ...stages.flatMap(({ stage, perplexity }) => (perplexity === undefined ? [] : [{ stage, perplexity }])),
  ];
  if (measured.length < 2) return [];
  const rows = measured.map((row) => ({ ...row, label: toPrecision(row.perplexity, 4) }));
  const axes = [
    { field: "stage", title: "after" },
    { field: "perplexity", title: "perplexity" },
  ] as const;
  return [section("Perplexity by stage", await svgOf(barPlot(rows, ...axes, "label")))];
}

function bitsPlot({ rows }: Plan): Promise<string> {
  const values = rows.map(({ site, bpw }) => ({ layer: site.layer, role: site.role, bpw }));
  return svgOf(
    linePlot(
      values,
      { field: "layer", title: "block" },
      { field: "bpw", title: "bits per weight" },
      { field: "role", title: "linear" },
    ),
  );
}

async function lossSection(plan: Plan, { linears, damping }: LossAllocation): Promise<string> {
  const roles = new Map(plan.rows.map((row) => [row.name, row.site.role]));
  const values = linears.map((one) => ({
    role: roles.get(one.name) ?? "",
    uniform: Math.sqrt(one.squaredErrorUniform),
    chosen: Math.sqrt(one.squaredError),
    sensitivity: one.sensitivity,
  }));
  const plot = scatterPlot(
    values,
    { field: "uniform", title: "relative error at the uniform rank" },
    { field: "chosen", title: "relative error at the chosen rank" },
    { field: "role", title: "linear" },
    { field: "sensitivity", title: "loss at error 1" },
  );
  const words =
    "Weighted relative errors that the measured curves predict; below the line a linear was given more than uniform ranks would. " +
    `Size: the estimated loss (nats a token) at relative error 1; its power ${damping} was minimised.`;
  return section("Predicted against uniform error", `<p>${escape(words)}</p>${await svgOf(plot)}`);
}

function bytesPlot({ totals }: Plan): Promise<string> {
  const parts = [
    ["linears", totals.linearBytes],
    ["embedding", totals.embeddingBytes],
    ["head", totals.headBytes],
    ["norms", totals.normBytes],
    ["header", totals.otherBytes],
  ] as const;
  const values = parts
    .filter(([, bytes]) => bytes > 0)
    .map(([part, bytes]) => ({
      part,
      bytes,
      label: `${formatBytes(bytes)} (${toPrecision((100 * bytes) / totals.fileBytes, 3)} %)`,
    }));
  return svgOf(barPlot(values, { field: "part", title: "" }, { field: "bytes", title: "bytes" }, "label"));
}

function linearsTable(plan: Plan): string {
  const rows = plan.rows.map((row) => [
    row.name,
    `${row.rows} x ${row.cols}`,
    row.kind === "dense" ? "dense" : (row.method ?? plan.method),
    row.kind === "factored" ? (row.ranks ?? [row.rank]).join(" + ") : "",
    row.kind === "factored" ? String(row.paths) : "",
    row.kind === "factored" ? String(row.envelope) : "",
    row.kind === "dense" ? "" : String(row.scaleBits),
    toPrecision(row.bpw, 4),
    formatCount(row.bytes),
  ]);
  const head = ["linear", "shape", "method", "rank", "paths", "envelope", "scale bits", "bpw", "bytes"];
  return `<details><summary>${rows.length} linears</summary>${table(head, rows)}</details>`;
}

function section(title: string, body: string): string {
  return `<section><h2>${escape(title)}</h2>${body}</section>`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (row: readonly string[], tag: string) =>
    `<tr>${row.map((cell) => `<${tag}>${escape(cell)}</${tag}>`).join("")}</tr>`;
  return `<table><thead>${cells(head, "th")}</thead><tbody>${rows.map((row) => cells(row, "td")).join("")}</tbody></table>`;
}

function pairsTable(pairs: readonly Pair[]): string {
  return `<table>${pairs.map(([name, value]) => `<tr><th>${escape(name)}</th><td>${escape(value)}</td></tr>`).join("")}</table>`;
}

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}
th,td{text-align:left;padding:.2rem .8rem .2rem 0;border-bottom:1px solid #e6e6e6;font-variant-numeric:tabular-nums}
svg{max-width:100%;height:auto}details table{font-size:13px}`;

function page(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escape(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${escape(title)}</h1>
${body}
<p>Made by subbit ${escape(VERSION)}.</p>
</body>
</html>
`;
}

function escape(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
