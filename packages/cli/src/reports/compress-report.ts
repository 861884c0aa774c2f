/** What a compression gave: the quality table, the stages, the JSON. */
import type { CompressResult, Plan } from "@subbit/compress";
import { formatBytes, formatCount, formatSeconds, toPrecision } from "../output/format.js";
import { renderPairs, renderTable } from "../output/table.js";

/** Fields of the contract, and the stages. */
export function compressJson(result: CompressResult): Record<string, unknown> {
  const {
    out,
    bpw,
    paperBpw,
    fileBytes,
    seconds,
    cpuSeconds,
    peakRssBytes,
    stages,
    verify,
    quality,
    warnings,
    plan,
  } = result;
  return {
    out,
    bpw,
    paperBpw,
    fileBytes,
    seconds,
    cpuSeconds,
    peakRssBytes,
    method: plan.method,
    init: plan.init,
    schedule: plan.schedule,
    allocation: plan.allocation.kind,
    ...formOf(plan),
    ...(quality && { quality }),
    stages,
    ...(verify && { verify }),
    warnings,
  };
}

/** Paths, envelope and width of the scales; null where linears differ in it. */
function formOf({ rows }: Plan): Record<string, number | null> {
  const compressed = rows.filter((row) => row.kind !== "dense");
  const shared = (value: (row: (typeof rows)[number]) => number): number | null => {
    const values = new Set(compressed.map(value));
    return values.size === 1 ? [...values][0] : null;
  };
  return {
    paths: shared((row) => row.paths),
    envelope: shared((row) => row.envelope),
    scaleBits: shared((row) => row.scaleBits),
  };
}

/** One row of the table that compares teacher and packed model. */
export interface ModelRow {
  readonly name: string;
  readonly fileBytes: number;
  readonly bpw: number;
  readonly perplexity?: number | undefined;
  readonly tokensPerSecond?: number | undefined;
}

export function modelTable(rows: readonly ModelRow[]): string {
  const timed = rows.some((row) => row.tokensPerSecond !== undefined);
  const measured = rows.some((row) => row.perplexity !== undefined);
  return renderTable(
    [
      { title: "model" },
      { title: "weight file", align: "right" },
      { title: "bits per linear weight", align: "right" },
      ...(measured ? [{ title: "perplexity", align: "right" as const }] : []),
      ...(timed ? [{ title: "tokens/s", align: "right" as const }] : []),
    ],
    rows.map(({ name, fileBytes, bpw, perplexity, tokensPerSecond }) => [
      name,
      formatBytes(fileBytes),
      toPrecision(bpw, 4),
      ...(measured ? [perplexity === undefined ? "" : toPrecision(perplexity, 4)] : []),
      ...(timed ? [tokensPerSecond === undefined ? "" : toPrecision(tokensPerSecond, 3)] : []),
    ]),
  );
}

export function stageTable(result: CompressResult): string {
  const measured = result.stages.some((stage) => stage.perplexity !== undefined);
  return renderTable(
    [
      { title: "stage" },
      { title: "time", align: "right" },
      { title: "CPU time", align: "right" },
      { title: "tokens", align: "right" },
      { title: "loss", align: "right" },
      ...(measured ? [{ title: "perplexity", align: "right" as const }] : []),
    ],
    result.stages.map((stage) => [
      stage.stage,
      formatSeconds(stage.seconds),
      formatSeconds(stage.cpuSeconds),
      stage.tokens === undefined ? "" : formatCount(stage.tokens),
      stage.lossBefore === undefined || stage.lossAfter === undefined
        ? ""
        : `${toPrecision(stage.lossBefore, 3)} -> ${toPrecision(stage.lossAfter, 3)}`,
      ...(measured ? [stage.perplexity === undefined ? "" : toPrecision(stage.perplexity, 4)] : []),
    ]),
  );
}

export function describeCompress(result: CompressResult, teacherBpw: number): string {
  const quality = qualityOf(result);
  const models = modelTable([
    {
      name: "teacher",
      fileBytes: result.plan.totals.teacherBytes,
      bpw: teacherBpw,
      perplexity: quality.perplexityTeacher,
    },
    { name: "packed", fileBytes: result.fileBytes, bpw: result.bpw, perplexity: quality.perplexity },
  ]);
  const pairs = [
    ["out", result.out],
    ["method", `${result.plan.method}, started by ${result.plan.init}`],
    ...(quality.kl === undefined ? [] : [["KL(teacher||packed)", `${quality.kl.toFixed(4)} nats a token`]]),
    ...(quality.top1Agreement === undefined
      ? []
      : [["top-1 agreement", `${(100 * quality.top1Agreement).toFixed(1)} %`]]),
    ...(result.verify
      ? [
          [
            "runtime against engine",
            `max |difference| ${result.verify.maxAbsDifference.toExponential(1)} over ${result.verify.tokens} tokens`,
          ],
        ]
      : []),
    ["time", `${formatSeconds(result.seconds)} (CPU ${formatSeconds(result.cpuSeconds)})`],
    ["peak memory", formatBytes(result.peakRssBytes)],
  ];
  return `${stageTable(result)}\n\n${models}\n\n${renderPairs(pairs)}`;
}

export interface Quality {
  readonly perplexityTeacher?: number;
  readonly perplexity?: number;
  readonly kl?: number;
  readonly top1Agreement?: number;
}

/** `quality` is free form in the library; what the command's own measurement put there has these fields. */
export function qualityOf({ quality }: Pick<CompressResult, "quality">): Quality {
  const figure = (name: keyof Quality): Partial<Quality> => {
    const value = quality?.[name];
    return typeof value === "number" ? { [name]: value } : {};
  };
  return {
    ...figure("perplexityTeacher"),
    ...figure("perplexity"),
    ...figure("kl"),
    ...figure("top1Agreement"),
  };
}
