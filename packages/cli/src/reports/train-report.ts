/** What a training gave: the table for people, the JSON. */
import type { TrainResult } from "@subbit/compress";
import { formatBytes, formatCount, formatSeconds, toPrecision } from "../output/format.js";
import { renderPairs } from "../output/table.js";
import { qualityOf } from "./compress-report.js";

/** Fields of the contract, and what else is known. */
export function trainJson(result: TrainResult, recipe: string): Record<string, unknown> {
  const { evaluations, ...rest } = result;
  return {
    ...rest,
    recipe,
    evaluations: evaluations.map(({ step, value }) => ({ step, perplexity: value })),
  };
}

export function describeTrain(result: TrainResult, recipe: string): string {
  return renderPairs(summaryPairs(result, recipe));
}

export function summaryPairs(result: TrainResult, recipe: string): (readonly [string, string])[] {
  const { evaluations, steps, tokens, tokensPerSecond, keptStep, verify } = result;
  const quality = qualityOf(result);
  const before = evaluations.at(0)?.value;
  const kept = evaluations.find(({ step }) => step === keptStep)?.value;
  const figure = (name: string, value: number | undefined, digits = 4): [string, string][] =>
    value === undefined ? [] : [[name, toPrecision(value, digits)]];
  return [
    ["out", result.out],
    ["recipe", recipe],
    [
      "trained",
      `${formatCount(steps)} steps, ${formatCount(tokens)} tokens, ${toPrecision(tokensPerSecond, 3)} tokens/s`,
    ],
    [
      "KL(teacher||student) of the data",
      `${toPrecision(result.lossBefore, 4)} -> ${toPrecision(result.lossAfter, 4)} nats a token`,
    ],
    ...(before === undefined || kept === undefined
      ? []
      : ([["perplexity in training", `${toPrecision(before, 4)} -> ${toPrecision(kept, 4)}`]] as const)),
    ["kept", keptStep === 0 ? "the student as it was" : `the state after step ${formatCount(keptStep)}`],
    ...figure("perplexity of the teacher", quality.perplexityTeacher),
    ...figure("perplexity of the packed file", quality.perplexity),
    ...figure("KL(teacher||packed), nats a token", quality.kl),
    ...figure("top-1 agreement", quality.top1Agreement),
    ["weight file", `${formatBytes(result.fileBytes)}, ${toPrecision(result.bpw, 4)} bits per linear weight`],
    ...(verify
      ? ([
          [
            "runtime against engine",
            `max |difference| ${verify.maxAbsDifference.toExponential(1)} over ${verify.tokens} tokens`,
          ],
        ] as const)
      : []),
    ["time", `${formatSeconds(result.seconds)} (CPU ${formatSeconds(result.cpuSeconds)})`],
    ["peak memory", formatBytes(result.peakRssBytes)],
  ];
}
