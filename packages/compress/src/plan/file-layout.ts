/** Bytes of the packed weight file, tensor by tensor and header included, from a plan's rows alone. */
import {
  encodeSafetensorsHeader,
  endTensors,
  inFileOrder,
  type LinearEntry,
  linearTensors,
  type ModelSpec,
  normHasBias,
  normSize,
  type NormSite,
  type PlainDtype,
  type StoredBytes,
  type TensorDeclaration,
  type TensorPlan,
} from "@subbit/core";
import type { Method } from "../choices.js";
import type { PlanRow } from "./plan.js";
import { tensorBytes } from "./rows.js";
import { rowTensors, type Tables } from "./tables.js";

export interface FileLayout {
  readonly bytes: StoredBytes;
  /** Header and all tensors, in one file. */
  readonly fileBytes: number;
}

/** What `compress` will write; norms, biases and the matrices at the ends count at 16 bits. */
export function fileLayout(
  spec: ModelSpec,
  method: Method,
  rows: readonly PlanRow[],
  { embedding, head }: Tables,
): FileLayout {
  // In the order of the writer: it decides how many digits the header's offsets have.
  const plans: TensorPlan[] = [
    ...rowTensors(embedding),
    ...endTensors(spec).map((each): TensorPlan => ({ ...each, dtypes: ["F16"] })),
  ];
  for (let layer = 0; layer < spec.layers; layer++) {
    plans.push(...spec.norms.flatMap((role) => normTensors(spec, { layer, role })));
    for (const row of rows.filter(({ site }) => site.layer === layer)) {
      plans.push(...linearTensors(row.name, entryOf(spec, method, row)));
    }
  }
  if (spec.ends.finalNorm) plans.push(...normTensors(spec, { role: "final-norm" }));
  if (head) plans.push(...rowTensors(head));
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

function normTensors(spec: ModelSpec, site: NormSite): TensorPlan[] {
  const suffixes = normHasBias(spec) ? ["weight", "bias"] : ["weight"];
  return suffixes.map((suffix): TensorPlan => ({
    name: `${spec.names.norm(site)}.${suffix}`,
    dtypes: ["F16"],
    shape: [normSize(spec, site.role)],
    part: "norms",
  }));
}
