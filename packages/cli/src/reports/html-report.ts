/** `--report`: one HTML file that needs nothing else, with what a compression planned, did, gained and cost. */
import type { CompressResult, LossAllocation, Plan } from "@subbit/compress";
import { formatBytes, formatCount, formatSeconds, toPrecision } from "../output/format.js";
import { qualityOf } from "./compress-report.js";
import { escape, page, type Pair, pairsTable, section, table } from "./html-page.js";
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
