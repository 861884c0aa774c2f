/** Random packed models of any forms, and opening what their plans would write, all in memory. */
import { openCheckpoint } from "../src/checkpoints/open.js";
import { encodeSafetensors, inFileOrder } from "../src/checkpoints/safetensors/encode.js";
import { bytesSource } from "../src/checkpoints/sources.js";
import type { SubbitManifest } from "../src/layouts/manifest.js";
import type { PackedModel, SubbitPlan } from "../src/layouts/subbit-write.js";
import { reduceDense } from "../src/linears/narrow.js";
import { storedForm } from "../src/linears/round-scales.js";
import type { Linear, ScaleBits, Table } from "../src/linears/types.js";
import { modelSpec } from "../src/model/families/registry.js";
import type { Model } from "../src/model/model.js";
import { openModel } from "../src/model/open-model.js";
import { LINEAR_ROLES } from "../src/model/spec.js";
import { random, randomDense, randomFactored, randomOneBit, type FactoredOptions } from "./random-linears.js";

/** What a linear or a table is made as. */
export type Form =
  | ({ readonly kind: "factored" } & FactoredOptions)
  | { readonly kind: "onebit"; readonly scaleBits: ScaleBits }
  | { readonly kind: "dense"; readonly bits: 16 | 8 | 4 | 2 };

export interface Sizes {
  readonly hidden: number;
  readonly intermediate: number;
  readonly vocab: number;
  readonly headDim: number;
  readonly heads: number;
  readonly bias: boolean;
  readonly tied: boolean;
}

export function make(form: Form, rows: number, cols: number, bias: boolean): Linear {
  switch (form.kind) {
    case "factored":
      return storedForm(randomFactored(rows, cols, { ...form, bias }));
    case "onebit":
      return storedForm(randomOneBit(rows, cols, { ...form, bias }));
    case "dense":
      return reduceDense(randomDense(rows, cols, bias), form.bits);
  }
}

/** A model of one block whose linears take the forms in turn. */
export function packedModel(
  sizes: Sizes,
  forms: readonly Form[],
  tables: readonly [Form, Form],
): PackedModel & { readonly linears: ReadonlyMap<string, Linear> } {
  const config = {
    model_type: "llama",
    hidden_size: sizes.hidden,
    intermediate_size: sizes.intermediate,
    num_hidden_layers: 1,
    num_attention_heads: sizes.heads,
    num_key_value_heads: 1,
    head_dim: sizes.headDim,
    vocab_size: sizes.vocab,
    attention_bias: sizes.bias,
    tie_word_embeddings: sizes.tied,
  };
  const spec = modelSpec(config);
  const linears = new Map<string, Linear>();
  LINEAR_ROLES.forEach((role, i) => {
    const { rows, cols, bias } = spec.linearShapes[role];
    linears.set(role, make(forms[i % forms.length], rows, cols, bias));
  });
  const [embedding, head] = tables.map((form) => make(form, sizes.vocab, sizes.hidden, false) as Table);
  const norm = random(sizes.hidden);
  return {
    spec,
    config,
    linears,
    linear: ({ role }) => Promise.resolve(linears.get(role)!),
    method: () => "dbf",
    norm: () => Promise.resolve({ weight: norm }),
    embedding: () => Promise.resolve(embedding),
    head: () => Promise.resolve(head),
    writtenBy: "subbit 0.0.0-test",
    recipe: {},
  };
}

/** Opens what a plan would write; `edit` damages the manifest, `replace` the bytes of tensors. */
export async function open(
  plan: SubbitPlan,
  edit?: (manifest: SubbitManifest) => void,
  replace: Record<string, Uint8Array> = {},
): Promise<Model> {
  const manifest = structuredClone(plan.manifest);
  edit?.(manifest);
  const text = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
  const tensors = inFileOrder(plan.tensors).map((tensor) =>
    tensor.name in replace ? { ...tensor, data: replace[tensor.name] } : tensor,
  );
  const files = new Map([
    ["config.json", text(plan.config)],
    ["subbit.json", text(manifest)],
    ["model.safetensors", await encodeSafetensors(tensors)],
  ]);
  return openModel(
    await openCheckpoint({
      name: "the folder",
      list: () => Promise.resolve([...files.keys()]),
      open: (name) => Promise.resolve(files.has(name) ? bytesSource(files.get(name)!, name) : undefined),
    }),
  );
}

export const ODD_SIZES: Sizes = {
  hidden: 37,
  intermediate: 71,
  vocab: 33,
  headDim: 10,
  heads: 3,
  bias: true,
  tied: false,
};
