/** Bytes of the packed weight file, tensor by tensor and header included, from a plan's rows alone. */
import {
  encodeSafetensorsHeader,
  inFileOrder,
  type LinearEntry,
  linearTensors,
  matrixTensors,
  type ModelSpec,
  PLAIN_DTYPE_BYTES,
  type PlainDtype,
  type StoredBytes,
  type TensorDeclaration,
  type TensorPlan,
} from "@subbit/core";
import type { EmbedBits, Method } from "../choices.js";
import { NORM_ROLES } from "../student/state.js";
import type { PlanRow } from "./plan.js";

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
  embedBits: EmbedBits,
): FileLayout {
  const plans: TensorPlan[] = [...tableTensors(spec, embedBits)];
  for (const row of rows) plans.push(...linearTensors(row.name, entryOf(spec, method, row)));
  plans.push(...normTensors(spec));
  const bytes: StoredBytes = { signs: 0, scales: 0, dense: 0, biases: 0, embeddings: 0, head: 0, norms: 0 };
  const declared: TensorDeclaration[] = plans.map((plan) => {
    const dtype = plan.dtypes[0] as PlainDtype;
    bytes[plan.part] += plan.shape.reduce((size, n) => size * n, PLAIN_DTYPE_BYTES[dtype]);
    return { name: plan.name, dtype, shape: plan.shape };
  });
  const header = encodeSafetensorsHeader(inFileOrder(declared), { metadata: { format: "pt" } }).length;
  return { bytes, fileBytes: Object.values(bytes).reduce((sum, part) => sum + part, header) };
}

/** The manifest entry that a row will have. */
function entryOf(spec: ModelSpec, method: Method, row: PlanRow): LinearEntry {
  const { rows, cols, rank, paths, midScale } = row;
  const biasBits = spec.linearShapes[row.site.role].bias ? 16 : 0;
  if (row.kind === "dense") return { kind: "dense", rows, cols, bits: 16, biasBits };
  return {
    kind: "factored",
    method,
    rows,
    cols,
    rank,
    paths,
    envelope: 1,
    midScale,
    scaleBits: 16,
    biasBits,
  };
}

function tableTensors(spec: ModelSpec, bits: EmbedBits): TensorPlan[] {
  const entry = { kind: "dense", rows: spec.vocabSize, cols: spec.hiddenSize, bits, biasBits: 0 } as const;
  const embedding = matrixTensors(spec.names.embedding, entry, "embeddings");
  return spec.tiedHead ? embedding : [...embedding, ...matrixTensors(spec.names.head, entry, "head")];
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
