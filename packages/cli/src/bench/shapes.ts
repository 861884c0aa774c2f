/** Shapes of well-known models, for checkpoints with random weights: speed and memory depend on nothing else. */
import { SubbitError, type ModelConfig } from "@subbit/core";

interface ShapeFields {
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** @default hidden / heads */
  readonly headDim?: number;
  readonly mlp: number;
  readonly vocab: number;
  readonly tied: boolean;
  readonly positions: number;
  readonly ropeTheta: number;
}

/** Dimensions as in the config.json of the named model. */
const SHAPES = {
  /** For tests: every part of the layout in a few kilobytes, dimensions that are no multiples of anything. */
  tiny: {
    hidden: 96,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    mlp: 160,
    vocab: 260,
    tied: true,
    positions: 256,
    ropeTheta: 10_000,
  },
  "smollm2-135m": {
    hidden: 576,
    layers: 30,
    heads: 9,
    kvHeads: 3,
    mlp: 1536,
    vocab: 49_152,
    tied: true,
    positions: 8192,
    ropeTheta: 100_000,
  },
  "smollm2-360m": {
    hidden: 960,
    layers: 32,
    heads: 15,
    kvHeads: 5,
    mlp: 2560,
    vocab: 49_152,
    tied: true,
    positions: 8192,
    ropeTheta: 100_000,
  },
  tinyllama: {
    hidden: 2048,
    layers: 22,
    heads: 32,
    kvHeads: 4,
    mlp: 5632,
    vocab: 32_000,
    tied: false,
    positions: 2048,
    ropeTheta: 10_000,
  },
  "llama-1b": {
    hidden: 2048,
    layers: 16,
    heads: 32,
    kvHeads: 8,
    mlp: 8192,
    vocab: 128_256,
    tied: true,
    positions: 131_072,
    ropeTheta: 500_000,
  },
  "llama-3b": {
    hidden: 3072,
    layers: 28,
    heads: 24,
    kvHeads: 8,
    headDim: 128,
    mlp: 8192,
    vocab: 128_256,
    tied: true,
    positions: 131_072,
    ropeTheta: 500_000,
  },
  "llama-7b": {
    hidden: 4096,
    layers: 32,
    heads: 32,
    kvHeads: 32,
    mlp: 11_008,
    vocab: 32_000,
    tied: false,
    positions: 4096,
    ropeTheta: 10_000,
  },
  "llama-8b": {
    hidden: 4096,
    layers: 32,
    heads: 32,
    kvHeads: 8,
    mlp: 14_336,
    vocab: 128_256,
    tied: false,
    positions: 131_072,
    ropeTheta: 500_000,
  },
} as const satisfies Record<string, ShapeFields>;

export const SHAPE_NAMES = Object.keys(SHAPES);

/** The config.json of a Llama of that shape. Throws `usage` for an unknown name. */
export function shapeConfig(name: string): ModelConfig {
  const shape: ShapeFields | undefined = Object.hasOwn(SHAPES, name)
    ? SHAPES[name as keyof typeof SHAPES]
    : undefined;
  if (shape === undefined) {
    throw new SubbitError(
      "usage",
      `The shape ${name} was asked for, but known ones are ${SHAPE_NAMES.join(", ")}; give one of them.`,
    );
  }
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: shape.hidden,
    intermediate_size: shape.mlp,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvHeads,
    head_dim: shape.headDim ?? shape.hidden / shape.heads,
    max_position_embeddings: shape.positions,
    rms_norm_eps: 1e-5,
    rope_theta: shape.ropeTheta,
    vocab_size: shape.vocab,
    hidden_act: "silu",
    tie_word_embeddings: shape.tied,
    torch_dtype: "float16",
  };
}
