/** The tokenizer files of a Hugging Face folder, rebuilt from GGUF metadata. */
import { inputError } from "../../../errors.js";
import type { JsonObject } from "../../json.js";
import { findBoolean, findCount, findText } from "../metadata.js";
import type { Metadata } from "../parse.js";
import { addsBosByteLevel, byteLevelTokenizer, preTokenizerNote } from "./byte-level.js";
import { addsBosSentencePiece, sentencePieceTokenizer } from "./sentence-piece.js";
import { TOKEN_TYPE, addedTokens, readVocabulary, type Vocabulary } from "./vocabulary.js";

/** Control tokens that end a turn in chats, by text; a model may end with one of these instead of its eos. */
const END_OF_TURN = ["<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|eom_id|>"];

/** The text of a side file; `undefined` for names that cannot be rebuilt, or where the file has no tokenizer. */
export function sideFile(
  metadata: Metadata,
  fileName: string,
  config: Readonly<JsonObject>,
): string | undefined {
  const build = Object.hasOwn(BUILDERS, fileName) ? BUILDERS[fileName] : undefined;
  const vocabulary = build && readVocabulary(metadata);
  return vocabulary && JSON.stringify(build(vocabulary, metadata, config));
}

/** Things to tell the user about the rebuilt tokenizer. */
export function tokenizerNotes(metadata: Metadata): string[] {
  if (metadata.get("tokenizer.ggml.model") !== "gpt2") return [];
  const note = preTokenizerNote(metadata);
  return note === undefined ? [] : [note];
}

type Builder = (vocabulary: Vocabulary, metadata: Metadata, config: Readonly<JsonObject>) => JsonObject;

const BUILDERS: Readonly<Record<string, Builder>> = {
  "tokenizer.json": (vocabulary, metadata) => {
    if (vocabulary.model === "gpt2") return byteLevelTokenizer(vocabulary, metadata);
    if (vocabulary.model === "llama") return sentencePieceTokenizer(vocabulary, metadata);
    const shown = JSON.stringify(vocabulary.model.slice(0, 60));
    throw inputError(
      `The GGUF file has a tokenizer of the kind ${shown}, which is not read; "gpt2" (byte-level BPE) and "llama" (SentencePiece) are.`,
    );
  },
  "tokenizer_config.json": tokenizerConfig,
  "special_tokens_map.json": specialTokens,
  "generation_config.json": generationConfig,
};

function specialTokens({ tokens, bosId, eosId, unknownId, paddingId }: Vocabulary): JsonObject {
  const text = (id: number | undefined): string | undefined => (id === undefined ? undefined : tokens[id]);
  const named = {
    bos_token: text(bosId),
    eos_token: text(eosId),
    pad_token: text(paddingId),
    unk_token: text(unknownId),
  };
  return Object.fromEntries(Object.entries(named).filter(([, token]) => token !== undefined));
}

function tokenizerConfig(
  vocabulary: Vocabulary,
  metadata: Metadata,
  config: Readonly<JsonObject>,
): JsonObject {
  const byteLevel = vocabulary.model === "gpt2";
  const template = findText(metadata, "tokenizer.chat_template");
  const prefixed = findBoolean(metadata, "tokenizer.ggml.add_space_prefix") ?? true;
  return {
    add_bos_token: byteLevel ? addsBosByteLevel(vocabulary, metadata) : addsBosSentencePiece(vocabulary),
    add_eos_token: vocabulary.addEos ?? false,
    add_prefix_space: !byteLevel && prefixed,
    added_tokens_decoder: Object.fromEntries(
      addedTokens(vocabulary).map(({ id, ...token }) => [String(id), token]),
    ),
    ...specialTokens(vocabulary),
    ...(template === undefined ? {} : { chat_template: template }),
    clean_up_tokenization_spaces: false,
    model_max_length: config["max_position_embeddings"],
    // Not GPT2Tokenizer: transformers rebuilds that class's pre-tokenizer and would lose the digit split.
    tokenizer_class: "PreTrainedTokenizerFast",
  };
}

function generationConfig(vocabulary: Vocabulary, metadata: Metadata): JsonObject {
  const { tokens, types, bosId, eosId, paddingId } = vocabulary;
  const stops = new Set<number>();
  if (eosId !== undefined) stops.add(eosId);
  for (const kind of ["eot", "eom"]) {
    const id = findCount(metadata, `tokenizer.ggml.${kind}_token_id`);
    if (id !== undefined && id < tokens.length) stops.add(id);
  }
  for (const text of END_OF_TURN) {
    const id = tokens.indexOf(text);
    if (id >= 0 && types[id] === TOKEN_TYPE.control) stops.add(id);
  }
  const ids = [...stops].sort((a, b) => a - b);
  return {
    _from_model_config: true,
    bos_token_id: bosId ?? null,
    eos_token_id: ids.length > 1 ? ids : (ids[0] ?? null),
    pad_token_id: paddingId ?? null,
  };
}
