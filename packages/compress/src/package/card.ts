/** The model card, README.md: what the folder holds, what it cost, and how it was made, in exact figures. */
import type { Plan } from "../plan/plan.js";
import { type CardRow, count, flatten, table } from "./card-table.js";

export interface CardFacts {
  /** What the teacher was called. */
  readonly teacher: string;
  readonly teacherSha256: string;
  readonly plan: Plan;
  readonly writtenBy: string;
  readonly recipe: Record<string, unknown>;
  readonly fileBytes: number;
  readonly quality?: Record<string, unknown>;
}

/** Same facts, same text: nothing in it depends on when or how fast the model was made. */
export function modelCard(facts: CardFacts): string {
  const { plan, teacher, fileBytes, quality } = facts;
  const { totals } = plan;
  const rows: readonly CardRow[] = [
    ["teacher", `${teacher} (sha256 ${facts.teacherSha256.slice(0, 16)})`],
    ["method", `${plan.method}, started by ${plan.init}, ${plan.schedule} schedule`],
    ["form of a linear", formOfLinears(plan)],
    [
      "bits per linear weight",
      `${totals.bpw.toFixed(4)} (all stored bits; by the published formula ${totals.paperBpw.toFixed(4)})`,
    ],
    [
      "linear weights",
      `${count(totals.linearWeights)}, of them compressed ${count(totals.compressedWeights)}`,
    ],
    ["weight file", `${count(fileBytes)} bytes; the teacher's has ${count(totals.teacherBytes)}`],
    ["embedding and head", `${count(totals.embeddingBytes + totals.headBytes)} bytes, ${formOfTables(plan)}`],
    ["written by", facts.writtenBy],
  ];
  return [
    `# ${teacher}, ${totals.bpw.toFixed(2)} bits per weight`,
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

/** Paths, envelopes and scales of the compressed linears, such as "2 paths, scales of 16 bits". */
function formOfLinears({ rows, method }: Plan): string {
  const compressed = rows.filter(({ kind }) => kind !== "dense");
  if (compressed.length === 0) return "dense";
  const range = (values: readonly number[]): string => {
    const [least, most] = [Math.min(...values), Math.max(...values)];
    return least === most ? String(least) : `${least} to ${most}`;
  };
  const of = (value: (row: Plan["rows"][number]) => number) => range(compressed.map(value));
  const scales = `scales of ${of((row) => row.scaleBits)} bits`;
  if (method === "onebit") return `one sign a weight and a LayerNorm behind, ${scales}`;
  const paths = of((row) => row.paths);
  const middle = compressed.every((row) => row.midScale) ? "" : ", no middle scale";
  return `${paths} ${paths === "1" ? "path" : "paths"}, envelopes of rank ${of((row) => row.envelope)}${middle}, ${scales}`;
}

function formOfTables({ embedding, head, embedBits }: Plan): string {
  if (embedding.kind === "dense") return `rows of ${embedBits} bits`;
  const one = ({ rank, bpw }: Plan["embedding"]) => `rank ${rank}, ${bpw.toFixed(4)} bits a weight`;
  return `factored (${one(embedding)}${head ? `; head ${one(head)}` : ""})`;
}
