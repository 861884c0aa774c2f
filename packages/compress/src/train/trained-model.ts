/** A student after training as the model that core's writer takes: what training does not move stays as its file had it. */
import {
  endMatrix,
  type Linear,
  type LinearSite,
  type Model,
  type PackedModel,
  storedForm,
} from "@subbit/core";
import { normAt, type PackingInfo, roundedNorm } from "../package/packed-model.js";
import type { ModelState } from "../student/model-state.js";
import { packedLinear } from "../student/packed-linear.js";

/** Forms, ranks and widths of scales are the student's. */
export function trainedModel(student: Model, state: ModelState, info: PackingInfo): PackedModel {
  const { spec, checkpoint, manifest } = student;
  const methodOf = (entry: object | undefined): string =>
    entry !== undefined && "method" in entry && typeof entry.method === "string" ? entry.method : "dense";
  const [embeddingMethod, headMethod] = [methodOf(manifest?.embedding), methodOf(manifest?.head)];
  return {
    spec,
    config: checkpoint.config,
    linear: (site) => trainedLinear(student, state, site),
    method: (site) => methodOf(manifest?.linears[spec.names.linear(site)]),
    tableMethod: (table) => (table === "head" ? headMethod : embeddingMethod),
    norm: (site) => Promise.resolve(roundedNorm(normAt(state, site), spec.norm.weightOffset)),
    embedding: () => student.embedding(),
    head: () => student.head(),
    ...(student.positions && { positions: () => endMatrix(student, "positions") }),
    ...(student.projection && { projection: (end) => endMatrix(student, end) }),
    ...info,
  };
}

async function trainedLinear(student: Model, state: ModelState, site: LinearSite): Promise<Linear> {
  const linear = state.blocks[site.layer].linears[site.role];
  return linear.kind === "dense" ? student.linear(site) : storedForm(packedLinear(linear));
}
