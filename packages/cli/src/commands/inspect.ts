/** `subbit inspect`: what a model is, what every linear costs, and where every byte of the weight file goes. */
import {
  endTensors,
  inspectModel,
  packedEntry,
  type LinearEntry,
  type LinearReport,
  type Model,
  type ModelReport,
  type TableEntry,
} from "@subbit/core";
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
    .addHelpText(
      "after",
      examples(
        "subbit inspect stories-11m",
        "subbit inspect hf:HuggingFaceTB/SmolLM2-135M",
        "subbit inspect model.gguf --json",
      ),
    )
    .action((source: string, options: InspectOptions) =>
      execute(options, (context) => inspect(context, source, options)),
    );
}

function inspect(context: Context, source: string, options: InspectOptions): Promise<CommandResult> {
  return withModel(
    context,
    source,
    (model) => {
      const report = inspectModel(model);
      const tables = tablesOf(model, report);
      const linears = report.linears.map((linear) => ({
        ...linear,
        scaleBits: scaleBitsOf(packedEntry(model, linear.name)),
      }));
      const text = describe({ ...report, linears }, tables, options.all === true);
      return Promise.resolve({ json: { ...report, linears, ...tables }, text });
    },
    { stream: true },
  );
}

interface LinearLine extends LinearReport {
  /** Of a stored scale; null for a dense linear. */
  readonly scaleBits: number | null;
}

/** An embedding or a head. */
interface TableReport {
  readonly kind: "dense" | "factored";
  readonly rows: number;
  readonly cols: number;
  /** Of a value stored by rows; null for a factored table. */
  readonly valueBits: number | null;
  /** null for a dense table, as the next three. */
  readonly rank: number | null;
  readonly paths: number | null;
  readonly envelope: number | null;
  readonly scaleBits: number | null;
  readonly bpw: number;
}

interface TableReports {
  readonly embedding: TableReport;
  /** Absent when it is tied to the embedding. */
  readonly head?: TableReport;
}

function tablesOf({ manifest, spec, checkpoint }: Model, { bytes }: ModelReport): TableReports {
  // Learned positions and projections count with the end they stand at.
  const besideTable = (part: "embeddings" | "head"): number =>
    endTensors(spec).reduce(
      (sum, each) => sum + (each.part === part ? (checkpoint.tensors.get(each.name)?.bytes ?? 0) : 0),
      0,
    );
  const [rows, cols] = [spec.vocabSize, spec.ends.embeddingSize];
  const report = (entry: TableEntry | undefined, stored: number): TableReport => {
    const bpw = (8 * stored) / (rows * cols);
    const dense = { rank: null, paths: null, envelope: null, scaleBits: null };
    if (entry?.kind !== "factored") {
      return { kind: "dense", rows, cols, valueBits: entry?.bits ?? bpw, ...dense, bpw };
    }
    const { rank, paths, envelope, scaleBits } = entry;
    return { kind: "factored", rows, cols, valueBits: null, rank, paths, envelope, scaleBits, bpw };
  };
  return {
    embedding: report(manifest?.embedding, bytes.embeddings - besideTable("embeddings")),
    ...(!spec.tiedHead && { head: report(manifest?.head, bytes.head - besideTable("head")) }),
  };
}

function scaleBitsOf(entry: LinearEntry | undefined): number | null {
  return entry === undefined || entry.kind === "dense" ? null : entry.scaleBits;
}

const COLUMNS: readonly Column[] = [
  { title: "linear" },
  { title: "count", align: "right" },
  { title: "shape", align: "right" },
  { title: "method" },
  { title: "paths", align: "right" },
  { title: "rank", align: "right" },
  { title: "l", align: "right" },
  { title: "scale bits", align: "right" },
  { title: "bpw", align: "right" },
  { title: "paper bpw", align: "right" },
  { title: "bytes", align: "right" },
];

interface Described extends ModelReport {
  readonly linears: readonly LinearLine[];
}

function describe(report: Described, { embedding, head }: TableReports, all: boolean): string {
  const groups = all ? report.linears.map((linear) => [linear]) : groupsOf(report.linears);
  const table = renderTable(
    COLUMNS,
    groups.map((group) => cells(group, all)),
  );
  const { bytes } = report;
  const share = (part: number): string =>
    `${formatBytes(part)} (${toPrecision((100 * part) / report.fileBytes, 3)} %)`;
  const factored = report.linears.some((linear) => linear.scaleBits !== null);
  const paper = factored ? ` (${toPrecision(report.paperBpw, 4)} by the papers' formulas)` : "";
  const pairs = [
    ["architecture", report.architecture],
    ["parameters", formatCount(report.parameters)],
    ["linears", `${toPrecision(report.bpw, 4)} bits per weight, all stored bytes counted${paper}`],
    ["embedding", tableWords(embedding)],
    ["head", head === undefined ? "tied to the embedding" : tableWords(head)],
    ["weight file", formatBytes(report.fileBytes)],
    ...Object.entries<number>({ ...bytes })
      .filter(([, part]) => part > 0)
      .map(([name, part]) => [`  ${name}`, share(part)]),
  ];
  return `${table}\n\n${renderPairs(pairs)}`;
}

/** Linears of one kind and cost share a row; the block number is what tells them apart. */
function groupsOf(linears: readonly LinearLine[]): LinearLine[][] {
  const groups = new Map<string, LinearLine[]>();
  for (const linear of linears) {
    const key = [
      kindOf(linear.name),
      linear.method,
      ranksOf(linear),
      linear.paths,
      linear.envelope,
      linear.scaleBits,
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

function cells(group: readonly LinearLine[], all: boolean): string[] {
  const [first] = group;
  return [
    all ? first.name : kindOf(first.name),
    String(group.length),
    `${first.rows} x ${first.cols}`,
    first.dtype === null ? first.method : `dense ${first.dtype}`,
    first.paths === null ? "" : String(first.paths),
    ranksOf(first),
    first.envelope === null ? "" : String(first.envelope),
    first.scaleBits === null ? "" : String(first.scaleBits),
    toPrecision(first.bpw, 4),
    toPrecision(first.paperBpw, 4),
    formatBytes(group.reduce((sum, linear) => sum + linear.bits / 8, 0)),
  ];
}

/** `88`, or `88+40` where paths differ. */
function ranksOf({ rank, ranks }: LinearReport): string {
  return rank === null ? "" : (ranks ?? [rank]).join("+");
}

function tableWords({ kind, rows, cols, rank, bpw }: TableReport): string {
  const shape = `${rows} x ${cols}`;
  const bits = `${toPrecision(bpw, 4)} bits per weight`;
  return kind === "factored" ? `${shape}, factored, rank ${rank}, ${bits}` : `${shape}, rows, ${bits}`;
}
