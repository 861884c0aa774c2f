/**
 * Tensors that dense checkpoints and the subbit layout hold in the same form: norms, learned positions, and the matrices
 * between embedding and hidden size. Checked before any weight is read.
 */
import { inputError } from "../errors.js";
import { expectFloatTensor } from "../linears/read-dense.js";
import type { Checkpoint, TensorInfo } from "../checkpoints/types.js";
import {
  normHasBias,
  normSize,
  projectionShape,
  type ModelSpec,
  type NormSite,
  type Projection,
} from "./spec.js";

const PROJECTIONS: readonly Projection[] = ["in", "out"];

/** A tensor at one of the ends and the part of the accounting it belongs to. */
export interface EndTensor {
  readonly info: TensorInfo;
  readonly part: "embeddings" | "head";
}

/** Names of the matrices at the ends, with their shapes, in the order in which they are written. */
export function endTensors(
  spec: ModelSpec,
): { name: string; shape: readonly [number, number]; part: EndTensor["part"] }[] {
  const { names, ends, hiddenSize } = spec;
  const tensors: ReturnType<typeof endTensors> = [];
  if (ends.positions !== undefined) {
    tensors.push({
      name: names.positions ?? "",
      shape: [ends.positions.rows, hiddenSize],
      part: "embeddings",
    });
  }
  for (const end of ends.projected ? PROJECTIONS : []) {
    const { rows, cols } = projectionShape(spec, end);
    const part = end === "in" ? "embeddings" : "head";
    tensors.push({ name: `${names.projection?.(end)}.weight`, shape: [rows, cols], part });
  }
  return tensors;
}

/** The matrices at the ends; throws `input` where one is missing or has another shape, or there is one too many. */
export function checkEnds(checkpoint: Checkpoint, spec: ModelSpec): EndTensor[] {
  const found = endTensors(spec).map(({ name, shape, part }) => ({
    info: expectFloatTensor(checkpoint, name, shape, "the config"),
    part,
  }));
  const { projection } = spec.names;
  for (const end of spec.ends.projected || projection === undefined ? [] : PROJECTIONS) {
    const name = `${projection?.(end)}.weight`;
    if (checkpoint.tensors.has(name)) {
      throw inputError(
        `${checkpoint.name} holds the tensor ${name}, but its config has word_embed_proj_dim = hidden_size = ${spec.hiddenSize}.`,
      );
    }
  }
  return found;
}

/** The tensors of a norm: weight, and bias where norms have one. */
export function expectNorm(checkpoint: Checkpoint, spec: ModelSpec, site: NormSite): TensorInfo[] {
  const size = normSize(spec, site.role);
  const field = size === spec.hiddenSize ? "hidden_size" : "head_dim";
  return (normHasBias(spec) ? ["weight", "bias"] : ["weight"]).map((suffix) =>
    expectFloatTensor(checkpoint, `${spec.names.norm(site)}.${suffix}`, [size], `the config (${field})`),
  );
}
