/** GGUF files of every architecture that is read, built from a Hugging Face model as llama.cpp's converter does: the same logits. */
import { describe, expect, it } from "vitest";
import { openCheckpoint } from "../../src/checkpoints/open.js";
import { encodeSafetensors } from "../../src/checkpoints/safetensors/encode.js";
import { bytesSource } from "../../src/checkpoints/sources.js";
import { modelSpec } from "../../src/model/families/registry.js";
import { openModel } from "../../src/model/open-model.js";
import { referenceForward } from "../../src/model/reference.js";
import { linearSites, normSites, normSize } from "../../src/model/spec.js";
import { FAMILY_CONFIGS } from "../family-configs.js";
import { seededRandom } from "../shared-fixtures.js";
import { buildGguf, f32Bytes, type GgufTensorToBuild, type GgufValue } from "./build-gguf.js";

const IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 28, 0, 7];
/** Norm weights lose a rounding of 1 + w. */
const TOLERANCE = 1e-5;

interface Case {
  readonly family: string;
  readonly architecture: string;
  /** Metadata beside what all have, without the architecture in front. */
  readonly keys: Readonly<Record<string, GgufValue>>;
  readonly change?: Readonly<Record<string, unknown>>;
  readonly shift?: number;
}

const u32 = (value: number): GgufValue => ({ type: "u32", value });
const f32 = (value: number): GgufValue => ({ type: "f32", value });

const CASES: readonly Case[] = [
  { family: "qwen2", architecture: "qwen2", keys: {}, change: { use_sliding_window: false } },
  { family: "qwen3", architecture: "qwen3", keys: {}, change: { attention_bias: false } },
  {
    family: "phi3",
    architecture: "phi3",
    keys: {
      "rope.dimension_count": u32(2),
      "attention.sliding_window": u32(5),
      "rope.scaling.original_context_length": u32(8),
    },
  },
  {
    family: "gemma2",
    architecture: "gemma2",
    shift: 1,
    change: { query_pre_attn_scalar: 4 },
    keys: {
      "attention.sliding_window": u32(3),
      attn_logit_softcapping: f32(2),
      final_logit_softcapping: f32(3),
    },
  },
  {
    family: "gemma3_text",
    architecture: "gemma3",
    shift: 1,
    change: { query_pre_attn_scalar: 4 },
    keys: {
      "attention.sliding_window": u32(3),
      "attention.sliding_window_pattern": u32(2),
      "rope.freq_base": f32(1e6),
      "rope.freq_base_swa": f32(100),
    },
  },
];

/** llama.cpp's names (gguf-py/gguf/tensor_mapping.py) by those of Hugging Face, the first that fits. */
const NAMES: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens$/, "token_embd"],
  [/^model\.norm$/, "output_norm"],
  [/^lm_head$/, "output"],
  [/self_attn\.qkv_proj$/, "attn_qkv"],
  [/self_attn\.([qkv])_proj$/, "attn_$1"],
  [/self_attn\.o_proj$/, "attn_output"],
  [/self_attn\.([qk])_norm$/, "attn_$1_norm"],
  [/mlp\.gate_up_proj$/, "ffn_up"],
  [/mlp\.(gate|up|down)_proj$/, "ffn_$1"],
  [/input_layernorm$/, "attn_norm"],
  [/pre_feedforward_layernorm$/, "ffn_norm"],
  [/post_feedforward_layernorm$/, "post_ffw_norm"],
];

function ggufName(name: string, gemma: boolean): string {
  const [, stem, suffix] = /^(.*)\.(weight|bias)$/.exec(name)!;
  const layer = /^model\.layers\.(\d+)\.(.*)$/.exec(stem);
  const rest = layer?.[2] ?? stem;
  const found = NAMES.find(([pattern]) => pattern.test(rest));
  const own = found ? rest.replace(found[0], found[1]) : gemma ? "post_attention_norm" : "ffn_norm";
  return `${layer ? `blk.${layer[1]}.` : ""}${own}.${suffix}`;
}

interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** Random tensors under the names of Hugging Face, fused where the family fuses them. */
function randomTensors(config: Record<string, unknown>): Tensor[] {
  const spec = modelSpec(config);
  const random = seededRandom(5);
  const tensors: Tensor[] = [];
  const add = (name: string, shape: number[], size: number, base = 0): void => {
    const values = Float32Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      () => base + size * (2 * random() - 1),
    );
    tensors.push({ name, shape, values });
  };
  add(spec.names.embedding, [spec.vocabSize, spec.hiddenSize], 1);
  if (!spec.tiedHead) add(spec.names.head, [spec.vocabSize, spec.hiddenSize], 0.5);
  const fused = Array.from({ length: spec.layers }, (_, layer) => spec.names.fused?.(layer) ?? []).flat();
  for (const { name, parts } of fused) {
    add(`${name}.weight`, [parts.reduce((sum, { rows }) => sum + rows, 0), spec.hiddenSize], 0.4);
  }
  const inFused = new Set(fused.flatMap(({ parts }) => parts.map(({ name }) => name)));
  for (const site of linearSites(spec)) {
    const { rows, cols, bias } = spec.linearShapes[site.role];
    const name = spec.names.linear(site);
    if (inFused.has(name)) continue;
    add(`${name}.weight`, [rows, cols], 0.4);
    if (bias) add(`${name}.bias`, [rows], 0.3);
  }
  for (const site of normSites(spec)) {
    add(`${spec.names.norm(site)}.weight`, [normSize(spec, site.role)], 0.3, 1 - spec.norm.weightOffset);
  }
  return tensors;
}

async function logitsOf(files: ReadonlyMap<string, Uint8Array>): Promise<Float32Array> {
  const model = await openModel(
    await openCheckpoint({
      name: "the folder",
      list: () => Promise.resolve([...files.keys()]),
      open: (name) => Promise.resolve(files.has(name) ? bytesSource(files.get(name)!, name) : undefined),
    }),
  );
  const { logits } = await referenceForward(model, IDS);
  await model.close();
  return logits;
}

describe("GGUF files of other architectures than llama", () => {
  it.each(CASES)(
    "$architecture gives the logits of $family",
    async ({ family, architecture, keys, change, shift = 0 }) => {
      const config = { ...FAMILY_CONFIGS[family], ...change };
      const tensors = randomTensors(config);
      const want = await logitsOf(
        new Map([
          ["config.json", new TextEncoder().encode(JSON.stringify(config))],
          [
            "model.safetensors",
            await encodeSafetensors(
              tensors.map(({ name, shape, values }) => ({
                name,
                shape,
                dtype: "F32" as const,
                data: f32Bytes(values),
              })),
            ),
          ],
        ]),
      );
      const sizes = {
        context_length: "max_position_embeddings",
        embedding_length: "hidden_size",
        block_count: "num_hidden_layers",
        feed_forward_length: "intermediate_size",
        "attention.head_count": "num_attention_heads",
        "attention.head_count_kv": "num_key_value_heads",
        "attention.key_length": "head_dim",
      };
      const metadata = new Map<string, GgufValue>([
        ["general.architecture", { type: "text", value: architecture }],
        [`${architecture}.attention.layer_norm_rms_epsilon`, f32(1e-5)],
        [`${architecture}.rope.freq_base`, f32(10000)],
        ...Object.entries(sizes).map(
          ([key, field]) =>
            [`${architecture}.${key}`, u32(Number((config as Record<string, unknown>)[field]))] as const,
        ),
        ...Object.entries(keys).map(([key, value]) => [`${architecture}.${key}`, value] as const),
      ]);
      const stored: GgufTensorToBuild[] = tensors.map(({ name, shape, values }) => ({
        name: ggufName(name, shift !== 0),
        shape,
        type: 0,
        data: f32Bytes(/norm\.weight$/.test(name) ? values.map((value) => value + shift) : values),
      }));
      if (family === "phi3") {
        for (const [name, factor] of [
          ["short", 1.5],
          ["long", 3],
        ] as const) {
          stored.push({ name: `rope_factors_${name}.weight`, shape: [1], type: 0, data: f32Bytes([factor]) });
        }
      }
      const got = await logitsOf(new Map([["tiny.gguf", buildGguf(metadata, stored)]]));
      expect(got.length).toBe(want.length);
      got.forEach((value, i) => expect(Math.abs(value - want[i])).toBeLessThan(TOLERANCE));
    },
  );
});
