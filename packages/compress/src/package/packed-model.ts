/** A trained student as the model that core's writer takes: signs packed, norms and scales at 16 bits. */
import {
  type DenseLinear,
  denseValues,
  f16ToF32,
  f32ToF16,
  type Linear,
  type LinearSite,
  type Model,
  type NormSite,
  type PackedModel,
  type Projection,
  reduceDense,
  storedForm,
  SubbitError,
  type Table,
} from "@subbit/core";
import type { EmbedBits } from "../choices.js";
import type { Plan } from "../plan/plan.js";
import type { EndsState, ModelState } from "../student/model-state.js";
import { packedLinear } from "../student/packed-linear.js";
import type { NormState } from "../student/state.js";

export interface PackingInfo {
  readonly writtenBy: string;
  readonly recipe: Record<string, unknown>;
  readonly teacherSha256: string;
}

/** Everything is rounded as it will be stored: what is read from this model is what ships. */
export function packedModel(teacher: Model, plan: Plan, state: ModelState, info: PackingInfo): PackedModel {
  const { embedBits } = plan;
  const { factored } = state.ends;
  const tied = teacher.spec.tiedHead;
  return {
    spec: teacher.spec,
    config: teacher.checkpoint.config,
    linear: (site) => storedLinear(teacher, state, site),
    method: ({ layer, role }) =>
      plan.rows.find(({ site }) => site.layer === layer && site.role === role)?.method ?? plan.method,
    tableMethod: (table) => (table === "head" && plan.head ? plan.head : plan.embedding).method,
    norm: (site) => Promise.resolve(roundedNorm(normAt(state, site), teacher.spec.norm.weightOffset)),
    embedding: async () => factored?.embedding ?? reduceDense(dense(await teacher.embedding()), embedBits),
    head: async () =>
      (tied ? factored?.embedding : factored?.head) ?? reduceDense(dense(await teacher.head()), embedBits),
    ...(teacher.positions && { positions: async () => halves(await teacher.positions!()) }),
    ...(teacher.projection && {
      projection: async (end: Projection) => halves(await teacher.projection!(end)),
    }),
    ...info,
  };
}

async function storedLinear(teacher: Model, state: ModelState, site: LinearSite): Promise<Linear> {
  const linear = state.blocks[site.layer].linears[site.role];
  if (linear.kind !== "dense") return storedForm(packedLinear(linear));
  return reduceDense(dense(await teacher.linear(site)), 16);
}

function dense(linear: Linear): DenseLinear {
  if (linear.kind === "dense") return linear;
  throw new SubbitError("internal", `A matrix of the teacher is ${linear.kind}, not dense.`);
}

export function normAt({ ends, blocks }: ModelState, site: NormSite): NormState {
  const norm = site.role === "final-norm" ? ends.finalNorm : blocks[site.layer].norms[site.role];
  if (norm !== undefined) return norm;
  throw new SubbitError("internal", `The student has no ${site.role}, which its family asks for.`);
}

/** What a checkpoint stores is rounded, not what multiplies. */
export function roundedNorm({ weight, bias }: NormState, offset: number): NormState {
  const stored = offset === 0 ? weight : weight.map((value) => value - offset);
  const rounded = round(stored);
  return {
    weight: offset === 0 ? rounded : rounded.map((value) => value + offset),
    ...(bias && { bias: round(bias) }),
  };
}

function round(values: Float32Array): Float32Array {
  return f16ToF32(f32ToF16(values));
}

function halves(matrix: DenseLinear): DenseLinear {
  return { ...matrix, storage: { dtype: "f16", values: f32ToF16(denseValues(matrix)) } };
}

/**
 * Embedding, final norm and head of a student whose tables are rows: the teacher's at the width they will be stored in.
 * The teacher's own arrays where that changes nothing, so that a shared head is seen to be shared.
 */
export async function denseEnds(teacher: Model, ends: EndsState, embedBits: EmbedBits): Promise<EndsState> {
  const table = async (read: () => Promise<Table>, known: Float32Array): Promise<Float32Array> => {
    const stored = dense(await read());
    const reduced = reduceDense(stored, embedBits);
    return reduced === stored ? known : denseValues(reduced);
  };
  const embedding = await table(() => teacher.embedding(), ends.embedding);
  const head = teacher.spec.tiedHead ? embedding : await table(() => teacher.head(), ends.head);
  return { ...ends, embedding, head };
}
