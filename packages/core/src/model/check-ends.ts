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

/** A matrix between embedding, blocks and head. */
export interface EndTensor {
  readonly end: "positions" | Projection;
  readonly name: string;
  readonly shape: readonly [rows: number, cols: number];
  /** The part of the accounting that its bytes belong to. */
  readonly part: "embeddings" | "head";
}

/** The matrices at the ends that the spec asks for, in the order in which they are written. */
export function endTensors(spec: ModelSpec): EndTensor[] {
  const { names, ends, hiddenSize } = spec;
  const { positions, projection } = names;
  const tensors: EndTensor[] = [];
  if (ends.positions !== undefined && positions !== undefined) {
    const shape = [ends.positions.rows, hiddenSize] as const;
    tensors.push({ end: "positions", name: positions, shape, part: "embeddings" });
  }
  if (!ends.projected || projection === undefined) return tensors;
  for (const end of PROJECTIONS) {
    const { rows, cols } = projectionShape(spec, end);
    const part = end === "in" ? "embeddings" : "head";
    tensors.push({ end, name: `${projection(end)}.weight`, shape: [rows, cols], part });
  }
  return tensors;
}

/** The matrices at the ends; throws `input` where one is missing or has another shape, or there is one too many. */
export function checkEnds(
  checkpoint: Checkpoint,
  spec: ModelSpec,
): { info: TensorInfo; part: EndTensor["part"] }[] {
  const found = endTensors(spec).map(({ name, shape, part }) => ({
    info: expectFloatTensor(checkpoint, name, shape, "the config"),
    part,
  }));
  const { projection } = spec.names;
  if (spec.ends.projected || projection === undefined) return found;
  for (const end of PROJECTIONS) {
    const name = `${projection(end)}.weight`;
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
