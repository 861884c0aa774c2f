/** The model card of a model that was trained after it was packed. */
import type { ModelReport } from "@subbit/core";
import { type CardRow, count, flatten, table } from "./card-table.js";

export interface TrainedCardFacts {
  /** What teacher and student were called. */
  readonly teacher: string;
  readonly teacherSha256: string;
  readonly parent: string;
  readonly parentSha256: string;
  /** Of the packed file. */
  readonly report: ModelReport;
  readonly writtenBy: string;
  readonly tokens: number;
  readonly steps: number;
  readonly recipe: Record<string, unknown>;
  readonly quality?: Record<string, unknown>;
}

/** Same facts, same text: nothing in it depends on when or how fast the model was made. */
export function trainedCard(facts: TrainedCardFacts): string {
  const { report, quality } = facts;
  const methods = [...new Set(report.linears.map(({ method }) => method))].join(", ");
  const rows: readonly CardRow[] = [
    ["teacher", `${facts.teacher} (sha256 ${facts.teacherSha256.slice(0, 16)})`],
    ["trained from", `${facts.parent} (sha256 ${facts.parentSha256.slice(0, 16)})`],
    ["trained on", `${count(facts.tokens)} tokens in ${count(facts.steps)} steps`],
    ["method", methods],
    [
      "bits per linear weight",
      `${report.bpw.toFixed(4)} (all stored bits; by the published formula ${report.paperBpw.toFixed(4)})`,
    ],
    ["weight file", `${count(report.fileBytes)} bytes`],
    ["written by", facts.writtenBy],
  ];
  return [
    `# ${facts.teacher}, ${report.bpw.toFixed(2)} bits per weight, trained`,
    "",
    "A sub-1-bit language model in the subbit layout: sign matrices with scales. Run it with subbit:",
    "",
    "```",
    'npx subbit generate <this folder> --prompt "Once upon a time"',
    "```",
    "",
    ...table("what", "value", rows),
    ...(quality === undefined
      ? []
      : ["", "## Measured on this file", "", ...table("figure", "value", flatten(quality))]),
    "",
    "## Recipe",
    "",
    "```json",
    JSON.stringify(facts.recipe, null, 2),
    "```",
    "",
  ].join("\n");
}
