/** Configs and checkpoints that do not fit together are refused with one sentence that names the field. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeSafetensors, type TensorToWrite } from "../checkpoints/safetensors/encode.js";
import { openCheckpoint } from "../checkpoints/open.js";
import { bytesSource } from "../checkpoints/sources.js";
import type { Checkpoint } from "../checkpoints/types.js";
import { SubbitError } from "../errors.js";
import { denseValues } from "../linears/dense-linear.js";
import type { DenseLinear } from "../linears/types.js";
import { folderFiles } from "../node/file-source.js";
import { asBytes } from "../tensors/bytes.js";
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from "../tensors/half.js";
import { modelSpec } from "./families/registry.js";
import { openModel } from "./open-model.js";
import { FAMILY_CONFIGS } from "../../test/family-configs.js";
import { layerKind, type ModelSpec } from "./spec.js";

const CONFIG = {
  model_type: "llama",
  hidden_size: 8,
  intermediate_size: 6,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 5,
  tie_word_embeddings: true,
};

const SHAPES: Readonly<Record<string, readonly number[]>> = {
  "model.embed_tokens.weight": [5, 8],
  "model.norm.weight": [8],
  "model.layers.0.input_layernorm.weight": [8],
  "model.layers.0.post_attention_layernorm.weight": [8],
  "model.layers.0.self_attn.q_proj.weight": [8, 8],
  "model.layers.0.self_attn.k_proj.weight": [4, 8],
  "model.layers.0.self_attn.v_proj.weight": [4, 8],
  "model.layers.0.self_attn.o_proj.weight": [8, 8],
  "model.layers.0.mlp.gate_proj.weight": [6, 8],
  "model.layers.0.mlp.up_proj.weight": [6, 8],
  "model.layers.0.mlp.down_proj.weight": [8, 6],
};

/** A checkpoint in memory; `shapes` replaces tensors, undefined removes one. */
async function checkpointOf(
  config: Record<string, unknown> = {},
  shapes: Record<string, readonly number[] | undefined> = {},
  fill = (length: number): Float32Array => new Float32Array(length).fill(0.5),
): Promise<Checkpoint> {
  const tensors = Object.entries({ ...SHAPES, ...shapes }).flatMap(([name, shape]) => {
    if (shape === undefined) return [];
    const length = shape.reduce((product, size) => product * size, 1);
    return [{ name, dtype: "F32" as const, shape, data: asBytes(fill(length)) }];
  });
  return checkpointIn({ ...CONFIG, ...config }, tensors);
}

async function checkpointIn(config: object, tensors: readonly TensorToWrite[]): Promise<Checkpoint> {
  const files = new Map([
    ["config.json", new TextEncoder().encode(JSON.stringify(config))],
    ["model.safetensors", await encodeSafetensors(tensors)],
  ]);
  return openCheckpoint({
    name: "the folder",
    list: () => Promise.resolve([...files.keys()]),
    open: (name) => Promise.resolve(files.has(name) ? bytesSource(files.get(name)!, name) : undefined),
  });
}

function messageOf(config: Record<string, unknown>): string {
  try {
    modelSpec({ ...CONFIG, ...config }, "x");
  } catch (error) {
    expect(error).toBeInstanceOf(SubbitError);
    expect((error as SubbitError).code).toBe("input");
    return (error as SubbitError).message;
  }
  return "accepted";
}

function frequenciesOf({ layerKinds }: ModelSpec): Float64Array {
  return layerKinds[0].rope!.inverseFrequencies;
}

describe("model specs", () => {
  it("come from model_type, or from architectures where there is none", () => {
    expect(modelSpec(CONFIG).family).toBe("llama");
    expect(modelSpec({ ...CONFIG, model_type: undefined, architectures: ["LlamaForCausalLM"] }).family).toBe(
      "llama",
    );
  });

  it.each<[Record<string, unknown>, RegExp]>([
    [{ model_type: "mixtral" }, /model_type "mixtral"; supported model types are llama, qwen2/],
    [{ model_type: undefined, architectures: ["T5Model"] }, /architecture "T5Model"/],
    [{ model_type: undefined }, /neither model_type nor architectures/],
    [{ num_hidden_layers: 1e9 }, /num_hidden_layers = 1000000000, but it must be an integer from 1 to 1024/],
    [{ num_hidden_layers: -1 }, /num_hidden_layers = -1/],
    [{ hidden_size: 2 ** 60 }, /hidden_size/],
    [{ hidden_size: "8" }, /hidden_size = "8"/],
    [{ vocab_size: 1.5 }, /vocab_size = 1\.5/],
    [{ vocab_size: undefined }, /vocab_size missing/],
    [{ num_attention_heads: 3 }, /head dimension 2\.66/],
    [{ num_attention_heads: 8 }, /head dimension 1/],
    [{ head_dim: 3 }, /head_dim = 3, but it must be even/],
    [{ num_key_value_heads: 3 }, /no multiple of num_key_value_heads = 3/],
    [{ hidden_act: "mish" }, /hidden_act = "mish", but it must be one of silu/],
    [{ rms_norm_eps: 0 }, /rms_norm_eps = 0/],
    [{ rope_theta: "Infinity" }, /rope_theta/],
    [
      { rope_scaling: { type: "yarn", factor: 4 } },
      /unsupported rope_type "yarn"; supported are default, linear, llama3, longrope/,
    ],
    [{ rope_scaling: { rope_type: "longrope" } }, /rope_scaling\.short_factor missing/],
    [{ rope_parameters: { rope_type: "dynamic" } }, /"dynamic"/],
    [{ rope_scaling: { type: "linear" } }, /rope_scaling\.factor missing/],
    [{ rope_scaling: { rope_type: "llama3", factor: 8 } }, /rope_scaling\.low_freq_factor missing/],
    [
      {
        rope_parameters: {
          rope_type: "llama3",
          factor: 8,
          low_freq_factor: 4,
          high_freq_factor: 4,
          original_max_position_embeddings: 64,
        },
      },
      /high_freq_factor = 4, but it must be above low_freq_factor = 4/,
    ],
    [{ rope_scaling: "linear" }, /rope_scaling = "linear"/],
    [{ partial_rotary_factor: 0.5 }, /partial_rotary_factor = 0\.5/],
  ])("refuse %j", (config, message) => {
    expect(messageOf(config)).toMatch(message);
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ["qwen2", { use_sliding_window: "yes" }, /use_sliding_window = "yes", but it must be true or false/],
    [
      "qwen2",
      { use_sliding_window: true, sliding_window: 0 },
      /sliding_window = 0, but it must be an integer/,
    ],
    ["qwen2", { layer_types: ["full_attention"] }, /layer_types = .*list of num_hidden_layers = 2/],
    [
      "qwen3",
      { layer_types: ["full_attention", "chunked_attention"] },
      /layer_types\[1\] = "chunked_attention", which is not supported/,
    ],
    ["qwen3", { rope_scaling: { rope_type: "yarn", factor: 4 } }, /rope_type "yarn"/],
    ["qwen3", { mlp_bias: true }, /mlp_bias = true, which is not supported; only false is/],
    ["phi3", { attention_bias: true }, /attention_bias = true, which is not supported/],
    [
      "phi3",
      { partial_rotary_factor: 0.2 },
      /partial_rotary_factor = 0\.2, but it must leave an even number/,
    ],
    ["phi3", { partial_rotary_factor: 2 }, /partial_rotary_factor = 2/],
    [
      "phi3",
      { rope_scaling: { type: "longrope", short_factor: [1, 2], long_factor: [1] } },
      /rope_scaling\.short_factor = \[1,2\], but it must be a list of 1 numbers/,
    ],
    ["gemma2", { use_bidirectional_attention: true }, /use_bidirectional_attention = true, which is not/],
    ["gemma2", { attn_logit_softcapping: 0 }, /attn_logit_softcapping = 0, but it must be a number above 0/],
    ["gemma3_text", { query_pre_attn_scalar: -1 }, /query_pre_attn_scalar = -1/],
    ["gemma3_text", { sliding_window_pattern: 1.5 }, /sliding_window_pattern = 1\.5/],
    ["opt", { layer_norm_elementwise_affine: false }, /layer_norm_elementwise_affine = false, which is not/],
    ["opt", { activation_function: "mish" }, /activation_function = "mish", but it must be one of silu/],
    ["opt", { num_attention_heads: 5 }, /hidden_size = 12, which is no multiple of num_attention_heads = 5/],
  ])("of %s refuse %j", (family, change, message) => {
    expect(messageOf({ ...FAMILY_CONFIGS[family], ...change })).toMatch(message);
  });

  it.each(Object.entries(FAMILY_CONFIGS))("of %s: every field may be junk", (_, config) => {
    const junk = fc.dictionary(
      fc.constantFrom(...Object.keys(config), "layer_types", "rope_parameters", "head_dim"),
      fc.jsonValue({ maxDepth: 2 }),
    );
    fc.assert(
      fc.property(junk, (change) => {
        try {
          modelSpec({ ...config, ...change });
        } catch (error) {
          expect(error).toMatchObject({ code: "input" });
        }
      }),
      { numRuns: 60 },
    );
  });

  it("tell windowed layers by the family's rule or by layer_types", () => {
    const kinds = (family: string, change: Record<string, unknown>) => {
      const spec = modelSpec({ ...FAMILY_CONFIGS[family], num_hidden_layers: 4, ...change });
      return Array.from({ length: 4 }, (_, layer) => layerKind(spec, layer).window);
    };
    expect(kinds("qwen2", {})).toEqual([undefined, 4, 4, 4]);
    expect(kinds("qwen2", { use_sliding_window: false })).toEqual(new Array(4).fill(undefined));
    expect(kinds("phi3", {})).toEqual([5, 5, 5, 5]);
    expect(kinds("gemma2", {})).toEqual([3, undefined, 3, undefined]);
    expect(kinds("gemma3_text", { sliding_window_pattern: 3 })).toEqual([3, 3, undefined, 3]);
    const types = ["full_attention", "sliding_attention", "full_attention", "full_attention"];
    expect(kinds("gemma2", { layer_types: types })).toEqual([undefined, 3, undefined, undefined]);
    // A window as wide as the context hides nothing.
    expect(kinds("phi3", { sliding_window: 128 })).toEqual(new Array(4).fill(undefined));
  });

  it("are built or refused with an input error for any values whatsoever", () => {
    const fields = [
      "rope_scaling",
      "rope_parameters",
      "architectures",
      "hidden_act",
      "head_dim",
      "rope_theta",
    ];
    const junk = fc.dictionary(
      fc.constantFrom(...Object.keys(CONFIG), ...fields),
      fc.jsonValue({ maxDepth: 2 }),
    );
    fc.assert(
      fc.property(junk, (config) => {
        try {
          modelSpec({ ...CONFIG, ...config });
        } catch (error) {
          expect(error).toMatchObject({ code: "input" });
        }
      }),
      { numRuns: 500 },
    );
  });

  it("give the same frequencies for both forms of config.json", () => {
    const scaling = {
      rope_type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 64,
    };
    const hub = modelSpec({ ...CONFIG, head_dim: 64, rope_theta: 5e5, rope_scaling: scaling });
    const parameters = { ...scaling, rope_theta: 5e5 };
    const v5 = modelSpec({ ...CONFIG, head_dim: 64, rope_parameters: parameters });
    expect(v5.layerKinds).toEqual(hub.layerKinds);
    const plain = frequenciesOf(modelSpec({ ...CONFIG, head_dim: 64, rope_theta: 5e5 }));
    const ratios = frequenciesOf(hub).map((frequency, i) => plain[i] / frequency);
    // Short wavelengths are kept, long ones stretched eightfold, and the change between is monotone.
    expect(ratios[0]).toBe(1);
    expect(ratios.at(-1)).toBeCloseTo(8, 12);
    expect([...ratios].sort((a, b) => a - b)).toEqual([...ratios]);
  });
});

describe("opening a model", () => {
  it("works where config and tensors agree", async () => {
    const model = await openModel(await checkpointOf());
    const linear = await model.linear({ layer: 0, role: "k" });
    expect([linear.rows, linear.cols, linear.kind]).toEqual([4, 8, "dense"]);
    expect(await model.head()).toEqual(await model.embedding());
  });

  const q = "model.layers.0.self_attn.q_proj";
  it.each<[string, Record<string, unknown>, Record<string, readonly number[] | undefined>, RegExp]>([
    ["a missing linear", {}, { [`${q}.weight`]: undefined }, /no tensor .*q_proj\.weight/],
    [
      "a wrong shape",
      {},
      { [`${q}.weight`]: [8, 4] },
      /q_proj\.weight of the folder has shape \[8, 4\].*\[8, 8\]/,
    ],
    [
      "a wrong rank",
      {},
      { "model.norm.weight": [8, 1] },
      /model\.norm\.weight.*\[8, 1\].*hidden_size.*\[8\]/,
    ],
    ["heads that the tensors do not have", { num_key_value_heads: 2 }, {}, /num_key_value_heads/],
    ["a wrong vocabulary", { vocab_size: 6 }, {}, /vocab_size by hidden_size/],
    ["more layers than tensors", { num_hidden_layers: 2 }, {}, /model\.layers\.1/],
    [
      "fewer layers than tensors",
      {},
      { "model.layers.1.self_attn.q_proj.weight": [8, 8] },
      /num_hidden_layers = 1/,
    ],
    ["no head", { tie_word_embeddings: false }, {}, /lm_head\.weight.*tie_word_embeddings = false/],
    ["a missing bias", { attention_bias: true }, {}, /q_proj\.bias.*attention_bias = true/],
    ["a bias too many", {}, { [`${q}.bias`]: [8] }, /q_proj\.bias.*attention_bias = false/],
    ["another quantiser", { quantization_config: { quant_method: "gptq" } }, {}, /quant_method "gptq"/],
    ["a lost manifest", { quantization_config: { quant_method: "subbit" } }, {}, /subbit\.json is missing/],
    ["rope factors of a wrong length", {}, { "rope_freqs.weight": [3] }, /rope_freqs\.weight.*\[3\].*\[2\]/],
  ])("refuses %s", async (_, config, shapes, message) => {
    const checkpoint = await checkpointOf(config, shapes);
    await expect(openModel(checkpoint)).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(message) as string,
    });
  });

  it("keeps half and bfloat16 weights as the bit patterns they are stored in", async () => {
    const source = await openCheckpoint(folderFiles("packages/core/test/data/tiny-llama"));
    const dense = await openModel(source);
    const want = denseValues((await dense.linear({ layer: 0, role: "v" })) as DenseLinear);
    for (const [dtype, narrow, widen] of [
      ["F16", f32ToF16, f16ToF32],
      ["BF16", f32ToBf16, bf16ToF32],
    ] as const) {
      const tensors = [];
      for (const [name, { shape }] of source.tensors) {
        tensors.push({ name, dtype, shape, data: asBytes(narrow(await source.readF32(name))) });
      }
      const model = await openModel(await checkpointIn(source.config, tensors));
      const linear = (await model.linear({ layer: 0, role: "v" })) as DenseLinear;
      expect(linear.storage.dtype).toBe(dtype.toLowerCase());
      expect(denseValues(linear)).toEqual(widen(narrow(want)));
      expect((await model.norm({ role: "final-norm" })).weight.length).toBe(48);
    }
    await dense.close();
  });

  it("divides the inverse frequencies by the file's rope factors", async () => {
    const plain = await openModel(await checkpointOf());
    const model = await openModel(await checkpointOf({}, { "rope_freqs.weight": [2] }));
    expect(frequenciesOf(model.spec)).toEqual(frequenciesOf(plain.spec).map((each) => each / 0.5));
  });

  it("sees fused projections as their parts, by any rows, and refuses other sizes", async () => {
    const phi = { ...CONFIG, model_type: "phi3", num_key_value_heads: 1, tie_word_embeddings: true };
    const attention = "model.layers.0.self_attn";
    const shapes: Record<string, readonly number[] | undefined> = {
      [`${attention}.qkv_proj.weight`]: [16, 8],
      "model.layers.0.mlp.gate_up_proj.weight": [12, 8],
    };
    for (const name of ["self_attn.q", "self_attn.k", "self_attn.v", "mlp.gate", "mlp.up"]) {
      shapes[`model.layers.0.${name}_proj.weight`] = undefined;
    }
    const source = await checkpointOf(phi, shapes, (length) => Float32Array.from({ length }, (_, i) => i));
    const model = await openModel(source);
    const whole = await source.readF32(`${attention}.qkv_proj.weight`);
    const { checkpoint } = model;
    expect(checkpoint.tensors.has(`${attention}.qkv_proj.weight`)).toBe(false);
    const k = checkpoint.tensors.get(`${attention}.k_proj.weight`)!;
    expect(k).toMatchObject({ shape: [4, 8], bytes: 4 * 8 * 4 });
    expect(k.offset - source.tensors.get(`${attention}.qkv_proj.weight`)!.offset).toBe(8 * 8 * 4);
    expect(await checkpoint.readF32(k.name)).toEqual(whole.slice(64, 96));
    expect(await checkpoint.readF32(`${attention}.v_proj.weight`, { begin: 1, end: 3 })).toEqual(
      whole.slice(96 + 8, 96 + 24),
    );
    await expect(checkpoint.readRaw(k.name, { begin: 0, end: 5 })).rejects.toMatchObject({ code: "usage" });
    const wrong = await checkpointOf(phi, { ...shapes, [`${attention}.qkv_proj.weight`]: [15, 8] });
    await expect(openModel(wrong)).rejects.toThrow(/qkv_proj\.weight.*has 15 rows.*8 \+ 4 \+ 4/);
  });
});
