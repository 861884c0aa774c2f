/** `subbit inspect`: what a model is, what every linear costs, and where every byte of the weight file goes. */
import { inspectModel, type LinearReport, type ModelReport } from "@subbit/core";
import type { Command } from "commander";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { withModel } from "../open-source.js";
import { commandOf, examples } from "../options/common.js";
import { formatBytes, formatCount, toPrecision } from "../output/format.js";
import { renderPairs, renderTable, type Column } from "../output/table.js";

interface InspectOptions extends CommonOptions {
  readonly all?: boolean;
}

export function addInspect(program: Command): void {
  commandOf(program, "inspect <source>", "what a model is and what every linear of it costs")
    .option("--all", "a row for every linear, not one for each kind")
    .addHelpText("after", examples("subbit inspect stories-11m", "subbit inspect model.gguf --json"))
    .action((source: string, options: InspectOptions) =>
      execute(options, (context) => inspect(context, source, options)),
    );
}

function inspect(context: Context, source: string, options: InspectOptions): Promise<CommandResult> {
  return withModel(context, source, (model) => {
    const report = inspectModel(model);
    return Promise.resolve({ json: { ...report }, text: describe(report, options.all === true) });
  });
}

const COLUMNS: readonly Column[] = [
  { title: "linear" },
  { title: "count", align: "right" },
  { title: "shape", align: "right" },
  { title: "method" },
  { title: "paths", align: "right" },
  { title: "rank", align: "right" },
  { title: "bpw", align: "right" },
  { title: "paper bpw", align: "right" },
  { title: "bytes", align: "right" },
];

function describe(report: ModelReport, all: boolean): string {
  const groups = all ? report.linears.map((linear) => [linear]) : groupsOf(report.linears);
  const table = renderTable(
    COLUMNS,
    groups.map((group) => cells(group, all)),
  );
  const { bytes } = report;
  const share = (part: number): string =>
    `${formatBytes(part)} (${toPrecision((100 * part) / report.fileBytes, 3)} %)`;
  const factored = report.linears.some((linear) => linear.rank !== null);
  const paper = factored ? ` (${toPrecision(report.paperBpw, 4)} by the papers' formulas)` : "";
  const pairs = [
    ["architecture", report.architecture],
    ["parameters", formatCount(report.parameters)],
    ["linears", `${toPrecision(report.bpw, 4)} bits per weight, all stored bytes counted${paper}`],
    ["weight file", formatBytes(report.fileBytes)],
    ...Object.entries<number>({ ...bytes })
      .filter(([, part]) => part > 0)
      .map(([name, part]) => [`  ${name}`, share(part)]),
  ];
  return `${table}\n\n${renderPairs(pairs)}`;
}

/** Linears of one kind and cost share a row; the block number is what tells them apart. */
function groupsOf(linears: readonly LinearReport[]): LinearReport[][] {
  const groups = new Map<string, LinearReport[]>();
  for (const linear of linears) {
    const key = [
      kindOf(linear.name),
      linear.method,
      linear.rank,
      linear.paths,
      linear.rows,
      linear.cols,
      linear.bits,
    ].join(" ");
    const group = groups.get(key);
    if (group) group.push(linear);
    else groups.set(key, [linear]);
  }
  return [...groups.values()];
}

function kindOf(name: string): string {
  return name.replace(/^.*\.\d+\./, "");
}

function cells(group: readonly LinearReport[], all: boolean): string[] {
  const [first] = group;
  return [
    all ? first.name : kindOf(first.name),
    String(group.length),
    `${first.rows} x ${first.cols}`,
    first.dtype === null ? first.method : `dense ${first.dtype}`,
    first.paths === null ? "" : String(first.paths),
    first.rank === null ? "" : String(first.rank),
    toPrecision(first.bpw, 4),
    toPrecision(first.paperBpw, 4),
    formatBytes(group.reduce((sum, linear) => sum + linear.bits / 8, 0)),
  ];
}
