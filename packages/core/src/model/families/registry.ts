/** Which architectures are known: one line per family. */
import { inputError } from "../../errors.js";
import { showValue, type ModelConfig } from "../config-fields.js";
import type { ModelSpec } from "../spec.js";
import { gemma2Spec, gemma3TextSpec } from "./gemma.js";
import { llamaSpec } from "./llama.js";
import { optSpec } from "./opt.js";
import { phi3Spec } from "./phi3.js";
import { qwen2Spec } from "./qwen2.js";
import { qwen3Spec } from "./qwen3.js";

interface Family {
  /** `model_type` of config.json. */
  readonly modelType: string;
  /** Class names in `architectures`, for configs that carry no `model_type`. */
  readonly architectures: readonly string[];
  readonly spec: (config: ModelConfig, source: string) => ModelSpec;
}

const FAMILIES: readonly Family[] = [
  { modelType: "llama", architectures: ["LlamaForCausalLM"], spec: llamaSpec },
  { modelType: "qwen2", architectures: ["Qwen2ForCausalLM"], spec: qwen2Spec },
  { modelType: "qwen3", architectures: ["Qwen3ForCausalLM"], spec: qwen3Spec },
  { modelType: "phi3", architectures: ["Phi3ForCausalLM"], spec: phi3Spec },
  { modelType: "gemma2", architectures: ["Gemma2ForCausalLM"], spec: gemma2Spec },
  { modelType: "gemma3_text", architectures: ["Gemma3ForCausalLM"], spec: gemma3TextSpec },
  { modelType: "opt", architectures: ["OPTForCausalLM"], spec: optSpec },
];

/** `model_type` values that subbit can run. */
export const SUPPORTED_MODEL_TYPES: readonly string[] = FAMILIES.map((family) => family.modelType);

/**
 * The spec of the model that `config` (a parsed config.json) describes. `source` is what messages call it.
 * Throws `input` for an unsupported architecture or a bad field.
 */
export function modelSpec(config: ModelConfig, source = "the model"): ModelSpec {
  const modelType = config["model_type"];
  const listed = config["architectures"];
  const architectures: readonly unknown[] = Array.isArray(listed) ? listed : [];
  const family =
    modelType === undefined
      ? FAMILIES.find((known) => architectures.some((name) => known.architectures.includes(String(name))))
      : FAMILIES.find((known) => known.modelType === modelType);
  if (family === undefined) {
    const found =
      modelType !== undefined
        ? `the unsupported model_type ${showValue(modelType)}`
        : architectures.length > 0
          ? `no model_type and the unsupported architecture ${showValue(architectures[0])}`
          : "neither model_type nor architectures";
    throw inputError(
      `The config of ${source} has ${found}; supported model types are ${SUPPORTED_MODEL_TYPES.join(", ")}.`,
    );
  }
  return family.spec(config, source);
}
