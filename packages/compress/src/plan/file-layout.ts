/** Bytes of the packed weight file, tensor by tensor and header included, from a plan's rows alone. */
import {
  encodeSafetensorsHeader,
  inFileOrder,
  type LinearEntry,
  linearTensors,
  type ModelSpec,
  type PlainDtype,
  type StoredBytes,
  type TensorDeclaration,
  type TensorPlan,
} from "@subbit/core";
import type { Method } from "../choices.js";
import { NORM_ROLES } from "../student/state.js";
import type { PlanRow } from "./plan.js";
import { tensorBytes } from "./rows.js";
import { rowTensors, type Tables } from "./tables.js";

export interface FileLayout {
  readonly bytes: StoredBytes;
  /** Header and all tensors, in one file. */
  readonly fileBytes: number;
}

/** What `compress` will write; norms and biases count at 16 bits. */
export function fileLayout(
  spec: ModelSpec,
  method: Method,
  rows: readonly PlanRow[],
  { embedding, head }: Tables,
): FileLayout {
  const plans: TensorPlan[] = [...rowTensors(embedding), ...(head ? rowTensors(head) : [])];
  for (const row of rows) plans.push(...linearTensors(row.name, entryOf(spec, method, row)));
  plans.push(...normTensors(spec));
  const bytes: StoredBytes = { signs: 0, scales: 0, dense: 0, biases: 0, embeddings: 0, head: 0, norms: 0 };
  const declared: TensorDeclaration[] = plans.map((plan) => {
    bytes[plan.part] += tensorBytes(plan);
    return { name: plan.name, dtype: plan.dtypes[0] as PlainDtype, shape: plan.shape };
  });
  const header = encodeSafetensorsHeader(inFileOrder(declared), { metadata: { format: "pt" } }).length;
  return { bytes, fileBytes: Object.values(bytes).reduce((sum, part) => sum + part, header) };
}

/** The manifest entry that a row will have. */
function entryOf(spec: ModelSpec, planMethod: Method, row: PlanRow): LinearEntry {
  const { rows, cols, rank, ranks, paths, envelope, midScale, scaleBits, method = planMethod } = row;
  const biasBits = spec.linearShapes[row.site.role].bias ? 16 : 0;
  if (row.kind === "dense") return { kind: "dense", rows, cols, bits: 16, biasBits };
  if (row.kind === "onebit") return { kind: "onebit", method, rows, cols, scaleBits, biasBits };
  return {
    kind: "factored",
    method,
    rows,
    cols,
    rank,
    ...(ranks && { ranks: [...ranks] }),
    paths,
    envelope,
    midScale,
    scaleBits,
    biasBits,
  };
}

function normTensors(spec: ModelSpec): TensorPlan[] {
  const layers = Array.from({ length: spec.layers }, (_, layer) => layer);
  const names = [
    ...layers.flatMap((layer) => NORM_ROLES.map((role) => spec.names.norm({ layer, role }))),
    spec.names.norm({ role: "final-norm" }),
  ];
  const suffixes = spec.norm.kind === "layer" ? ["weight", "bias"] : ["weight"];
  return names.flatMap((name) =>
    suffixes.map((suffix): TensorPlan => ({
      name: `${name}.${suffix}`,
      dtypes: ["F16"],
      shape: [spec.hiddenSize],
      part: "norms",
    })),
  );
}
