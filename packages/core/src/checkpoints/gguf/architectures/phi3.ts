/**
 * `phi3`: Phi-3, Phi-3.5 and Phi-4. q, k and v are one tensor and gate and up another, as in Hugging Face. The divisors of
 * longrope are tensors here and lists in config.json: they are read when the file is opened.
 */
import { inputError } from "../../../errors.js";
import type { JsonObject } from "../../json.js";
import { findCount } from "../metadata.js";
import { TOP_NAMES, commonConfig } from "./names.js";
import type { ArchitectureInput, GgufArchitecture } from "./types.js";

const SHORT = "rope_factors_short.weight";
const LONG = "rope_factors_long.weight";

export const phi3: GgufArchitecture = {
  name: "phi3",
  topNames: TOP_NAMES,
  blockNames: {
    attn_norm: "input_layernorm",
    attn_qkv: "self_attn.qkv_proj",
    attn_output: "self_attn.o_proj",
    ffn_norm: "post_attention_layernorm",
    ffn_up: "mlp.gate_up_proj",
    ffn_down: "mlp.down_proj",
  },
  permuted: {},
  configTensors: [SHORT, LONG],
  config: phi3Config,
};

function phi3Config(input: ArchitectureInput): JsonObject {
  const { metadata, values } = input;
  const common = commonConfig("phi3", input);
  const [short, long] = [values?.get(SHORT), values?.get(LONG)];
  if ((short === undefined) !== (long === undefined)) {
    throw inputError(`The GGUF file has one of the tensors ${SHORT} and ${LONG}; it must have both or none.`);
  }
  const headDim = Number(common["head_dim"]);
  const rotated = findCount(metadata, "phi3.rope.dimension_count") ?? headDim;
  const window = findCount(metadata, "phi3.attention.sliding_window");
  const original = findCount(metadata, "phi3.rope.scaling.original_context_length");
  return {
    architectures: ["Phi3ForCausalLM"],
    model_type: "phi3",
    hidden_act: "silu",
    ...common,
    partial_rotary_factor: rotated / headDim,
    sliding_window: window === 0 ? null : (window ?? null),
    ...(original !== undefined && { original_max_position_embeddings: original }),
    ...(short &&
      long && {
        rope_scaling: {
          type: "longrope",
          rope_type: "longrope",
          short_factor: [...short],
          long_factor: [...long],
        },
      }),
  };
}
