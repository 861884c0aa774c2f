/** `train --report`: one HTML file that needs nothing else, with the curves of a training. */
import type { DistilRecipe, TrainResult } from "@subbit/compress";
import { formatCount } from "../output/format.js";
import { isEvaluation, type LogLine, type StepLine } from "../training/train-log.js";
import { page, pairsTable, section } from "./html-page.js";
import { curvePlot, linePlot, svgOf } from "./plots.js";
import { summaryPairs } from "./train-report.js";

export interface TrainReportFacts {
  /** What was trained. */
  readonly title: string;
  readonly recipeName: string;
  readonly recipe: DistilRecipe;
  readonly result: TrainResult;
  /** All lines of the log, those of earlier runs too; without steps the losses of the result are drawn. */
  readonly lines: readonly LogLine[];
}

/** Points of a curve; more of them make a larger file and no better picture. */
const MOST_POINTS = 400;

export async function trainHtml({
  title,
  recipeName,
  recipe,
  result,
  lines,
}: TrainReportFacts): Promise<string> {
  const steps = lines.filter((line): line is StepLine => !isEvaluation(line));
  const losses = steps.length > 0 ? lossRows(steps) : plainLossRows(result.losses);
  const step = { field: "step", title: "step" } as const;
  const series = { field: "what", title: "" } as const;
  const sections = [
    section("What it is", pairsTable(summaryPairs(result, recipeName))),
    section(
      "Loss",
      "<p>Of each step's windows before its update, as means over neighbouring steps.</p>" +
        (await svgOf(curvePlot(losses, step, { field: "loss", title: "loss" }, series))),
    ),
    ...(result.evaluations.length > 0
      ? [section("Perplexity of the evaluation text", await evaluationPlot(result))]
      : []),
    ...(steps.length > 0
      ? [
          section(
            "Rate",
            "<p>Factor of the schedule.</p>" +
              (await svgOf(curvePlot(rateRows(steps), step, { field: "rate", title: "rate" }, series))),
          ),
        ]
      : []),
    section("Hyperparameters", pairsTable(flatPairs(recipe))),
  ];
  return page(`${title}, trained on ${formatCount(result.tokens)} tokens`, sections.join("\n"));
}

function evaluationPlot({ evaluations }: TrainResult): Promise<string> {
  const rows = evaluations.map(({ step, value }) => ({ step, value, what: "perplexity" }));
  const axes = [
    { field: "step", title: "step" },
    { field: "value", title: "perplexity" },
    { field: "what", title: "" },
  ] as const;
  return svgOf(linePlot(rows, ...axes));
}

interface CurveRow extends Readonly<Record<string, string | number>> {
  readonly step: number;
  readonly what: string;
}

function lossRows(steps: readonly StepLine[]): CurveRow[] {
  const curve = (what: string, value: (line: StepLine) => number | undefined): CurveRow[] =>
    thinned(steps, ({ step }) => step, value).map(({ x, y }) => ({ step: x, what, loss: y }));
  const hidden = steps.some(({ hiddenLoss }) => hiddenLoss !== undefined);
  return [
    ...curve("loss", ({ loss }) => loss),
    ...(hidden ? curve("KL, nats a token", ({ logitsLoss }) => logitsLoss) : []),
    ...(hidden ? curve("hidden states", ({ hiddenLoss }) => hiddenLoss) : []),
  ];
}

function plainLossRows(losses: readonly number[]): CurveRow[] {
  const rows = losses.map((loss, i) => ({ step: i + 1, loss }));
  return thinned(
    rows,
    ({ step }) => step,
    ({ loss }) => loss,
  ).map(({ x, y }) => ({ step: x, what: "loss", loss: y }));
}

function rateRows(steps: readonly StepLine[]): CurveRow[] {
  return thinned(
    steps,
    ({ step }) => step,
    ({ rate }) => rate,
  ).map(({ x, y }) => ({ step: x, what: "rate", rate: y }));
}

/** Means of runs of neighbouring rows, at most MOST_POINTS of them. */
function thinned<T>(
  rows: readonly T[],
  xOf: (row: T) => number,
  yOf: (row: T) => number | undefined,
): { x: number; y: number }[] {
  const width = Math.max(1, Math.ceil(rows.length / MOST_POINTS));
  const points: { x: number; y: number }[] = [];
  for (let begin = 0; begin < rows.length; begin += width) {
    const group = rows.slice(begin, begin + width);
    const values = group.map(yOf).filter((y) => y !== undefined);
    if (values.length === 0) continue;
    points.push({
      x: xOf(group[group.length - 1]),
      y: values.reduce((sum, y) => sum + y, 0) / values.length,
    });
  }
  return points;
}

/** Plain values of nested objects by dotted names. */
function flatPairs(values: object, prefix = ""): [string, string][] {
  return Object.entries(values).flatMap(([name, value]: [string, unknown]): [string, string][] => {
    if (typeof value === "object" && value !== null) return flatPairs(value, `${prefix}${name}.`);
    return [[prefix + name, String(value)]];
  });
}
