/**
 * tokenizer.json of a SentencePiece BPE (`tokenizer.ggml.model` = `llama`): byte fallback, spaces as U+2581, and merges
 * rebuilt from the scores, which are the ranks of the pieces.
 */
import { inputError } from "../../../errors.js";
import type { JsonObject } from "../../json.js";
import { MAX_PIECE_LENGTH } from "../../limits.js";
import { findBoolean, findNumbers } from "../metadata.js";
import type { Metadata } from "../parse.js";
import {
  TOKEN_TYPE,
  addedTokens,
  templateProcessor,
  vocabularyObject,
  type Vocabulary,
} from "./vocabulary.js";

const SPACE_MARK = "▁";

/** Merges of a SentencePiece BPE: every split of a piece into two pieces, ranked by the score of the whole. */
export function mergesFromScores(
  tokens: readonly string[],
  scores: readonly number[],
  types: readonly number[],
): [string, string][] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const ranked: { score: number; left: string; right: string }[] = [];
  for (const [id, token] of tokens.entries()) {
    const userDefined = types[id] === TOKEN_TYPE.userDefined;
    if ((types[id] !== TOKEN_TYPE.normal && !userDefined) || token.length > MAX_PIECE_LENGTH) continue;
    const splits: { left: string; right: string }[] = [];
    for (let at = 1; at < token.length; at++) {
      const left = token.slice(0, at);
      const right = token.slice(at);
      if (ids.has(left) && ids.has(right)) splits.push({ left, right });
    }
    splits.sort((a, b) => ids.get(a.left)! - ids.get(b.left)! || ids.get(a.right)! - ids.get(b.right)!);
    // SentencePiece scores its learned pieces below zero, so a user's own pieces, at zero, come first.
    const score = userDefined ? 0 : scores[id];
    for (const { left, right } of splits) ranked.push({ score, left, right });
  }
  ranked.sort((a, b) => b.score - a.score);
  return ranked.map(({ left, right }) => [left, right]);
}

/** Whether bos is added where the caller asks for special tokens; llama.cpp does unless told otherwise. */
export function addsBosSentencePiece(vocabulary: Vocabulary): boolean {
  return vocabulary.addBos ?? true;
}

export function sentencePieceTokenizer(vocabulary: Vocabulary, metadata: Metadata): JsonObject {
  const { tokens, types } = vocabulary;
  const scores = findNumbers(metadata, "tokenizer.ggml.scores");
  if (scores?.length !== tokens.length) {
    throw inputError(
      `The GGUF file has ${tokens.length} tokens but ${scores?.length ?? "no"} scores; its tokenizer is damaged.`,
    );
  }
  if (scores.some(Number.isNaN))
    throw inputError("The GGUF file has a token whose score is not a number; its tokenizer is damaged.");
  const prefixed = findBoolean(metadata, "tokenizer.ggml.add_space_prefix") ?? true;
  const toMark = { type: "Replace", pattern: { String: " " }, content: SPACE_MARK };
  const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
  const decoders = [
    { type: "Replace", pattern: { String: SPACE_MARK }, content: " " },
    { type: "ByteFallback" },
    { type: "Fuse" },
    ...(prefixed ? [strip] : []),
  ];
  const unknown =
    vocabulary.unknownId ??
    (tokens.includes("<unk>") ? tokens.indexOf("<unk>") : types.indexOf(TOKEN_TYPE.unknown));
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(vocabulary),
    normalizer: prefixed
      ? { type: "Sequence", normalizers: [{ type: "Prepend", prepend: SPACE_MARK }, toMark] }
      : toMark,
    pre_tokenizer: null,
    post_processor: templateProcessor(
      vocabulary,
      addsBosSentencePiece(vocabulary),
      vocabulary.addEos ?? false,
    ),
    decoder: { type: "Sequence", decoders },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: tokens[unknown] ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: vocabularyObject(tokens),
      merges: mergesFromScores(tokens, scores, types),
    },
  };
}
