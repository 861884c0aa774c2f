/**
 * tokenizer.json of a byte-level BPE (`tokenizer.ggml.model` = `gpt2`). The file names its way of splitting text into
 * words by `tokenizer.ggml.pre`; the table holds the splits in the words of tokenizer.json.
 */
import { inputError } from "../../../errors.js";
import type { JsonObject } from "../../json.js";
import { findText, findTexts } from "../metadata.js";
import type { Metadata } from "../parse.js";
import { addedTokens, templateProcessor, vocabularyObject, type Vocabulary } from "./vocabulary.js";

interface PreTokenizer {
  readonly steps: readonly JsonObject[];
  readonly normalizer?: JsonObject;
  /** A word that is a token stays one, whatever the merges say. */
  readonly ignoreMerges?: boolean;
  /** What llama.cpp does where `add_bos_token` is absent. */
  readonly addBos?: boolean;
}

const byteLevel = (use_regex: boolean): JsonObject => ({
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex,
});

const split = (digits: string): JsonObject => ({
  type: "Split",
  pattern: {
    Regex:
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" +
      digits +
      "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  },
  behavior: "Isolated",
  invert: false,
});

const gpt2: PreTokenizer = { steps: [byteLevel(true)] };
const llama3: PreTokenizer = {
  steps: [split("\\p{N}{1,3}"), byteLevel(false)],
  ignoreMerges: true,
  addBos: true,
};

/** By `tokenizer.ggml.pre`. */
const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map([
  ["gpt-2", gpt2],
  ["gpt2", gpt2],
  ["smollm", { steps: [{ type: "Digits", individual_digits: true }, byteLevel(true)] }],
  ["llama-bpe", llama3],
  ["llama3", llama3],
  ["llama-v3", llama3],
  ["qwen2", { steps: [split("\\p{N}"), byteLevel(false)], normalizer: { type: "NFC" } }],
]);

function preTokenizerOf(metadata: Metadata): PreTokenizer | undefined {
  const name = findText(metadata, "tokenizer.ggml.pre");
  return name === undefined ? undefined : PRE_TOKENIZERS.get(name);
}

/** What a user should know where the split is not known and GPT-2's is used instead. */
export function preTokenizerNote(metadata: Metadata): string | undefined {
  if (preTokenizerOf(metadata) !== undefined) return undefined;
  const name = findText(metadata, "tokenizer.ggml.pre");
  return (
    (name === undefined
      ? "The GGUF file does not say how its tokenizer splits words"
      : `The GGUF file names the pre-tokenizer ${JSON.stringify(name.slice(0, 60))}, which is not known`) +
    "; GPT-2's is used, so some texts may be split into other tokens than the model was trained on."
  );
}

/** Whether bos is added where the caller asks for special tokens. */
export function addsBosByteLevel(vocabulary: Vocabulary, metadata: Metadata): boolean {
  return vocabulary.addBos ?? preTokenizerOf(metadata)?.addBos ?? false;
}

export function byteLevelTokenizer(vocabulary: Vocabulary, metadata: Metadata): JsonObject {
  const merges = findTexts(metadata, "tokenizer.ggml.merges");
  if (merges === undefined)
    throw inputError("The GGUF file has a byte-level tokenizer without merges (tokenizer.ggml.merges).");
  const pre = preTokenizerOf(metadata) ?? gpt2;
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(vocabulary),
    normalizer: pre.normalizer ?? null,
    pre_tokenizer: pre.steps.length === 1 ? pre.steps[0] : { type: "Sequence", pretokenizers: pre.steps },
    post_processor: templateProcessor(
      vocabulary,
      addsBosByteLevel(vocabulary, metadata),
      vocabulary.addEos ?? false,
    ),
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: pre.ignoreMerges ?? false,
      vocab: vocabularyObject(vocabulary.tokens),
      merges,
    },
  };
}
