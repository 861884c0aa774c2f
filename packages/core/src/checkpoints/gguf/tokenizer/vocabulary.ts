/** The vocabulary of a GGUF file, checked, with what each kind of tokenizer needs of it. */
import { inputError } from "../../../errors.js";
import type { JsonObject } from "../../json.js";
import { findBoolean, findCount, findNumbers, findText, findTexts } from "../metadata.js";
import type { Metadata } from "../parse.js";

/** ggml's token types that matter here. */
export const TOKEN_TYPE = { normal: 1, unknown: 2, control: 3, userDefined: 4 } as const;

export interface Vocabulary {
  /** `tokenizer.ggml.model` */
  readonly model: string;
  /** By id. */
  readonly tokens: readonly string[];
  /** By id; see TOKEN_TYPE. */
  readonly types: readonly number[];
  readonly bosId?: number;
  readonly eosId?: number;
  readonly unknownId?: number;
  readonly paddingId?: number;
  readonly addBos?: boolean;
  readonly addEos?: boolean;
}

/** `undefined` where the file has no tokenizer. */
export function readVocabulary(metadata: Metadata): Vocabulary | undefined {
  const model = findText(metadata, "tokenizer.ggml.model");
  const found = findTexts(metadata, "tokenizer.ggml.tokens");
  if (model === undefined || found === undefined || model === "no_vocab") return undefined;
  const types =
    findNumbers(metadata, "tokenizer.ggml.token_type") ??
    new Array<number>(found.length).fill(TOKEN_TYPE.normal);
  if (types.length !== found.length) {
    throw inputError(
      `The GGUF file has ${found.length} tokens but ${types.length} token types; its tokenizer is damaged.`,
    );
  }
  // llama.cpp's converter writes runs of spaces with plain blanks where SentencePiece has its own mark for them.
  const blanks = (token: string, id: number): boolean =>
    types[id] === TOKEN_TYPE.userDefined && /^ +$/.test(token);
  const tokens =
    model === "llama"
      ? found.map((token, id) => (blanks(token, id) ? "▁".repeat(token.length) : token))
      : found;
  const id = (kind: string): number | undefined => {
    const key = `tokenizer.ggml.${kind}_token_id`;
    const value = findCount(metadata, key);
    if (value !== undefined && value >= tokens.length) {
      throw inputError(
        `The GGUF metadata key ${key} is ${value}, but there are only ${tokens.length} tokens.`,
      );
    }
    return value;
  };
  const entries = {
    bosId: id("bos"),
    eosId: id("eos"),
    unknownId: id("unknown"),
    paddingId: id("padding"),
    addBos: findBoolean(metadata, "tokenizer.ggml.add_bos_token"),
    addEos: findBoolean(metadata, "tokenizer.ggml.add_eos_token"),
  };
  const known = Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined));
  return { model, tokens, types, ...known };
}

/** Token to id. Where two tokens have one text, the first keeps it. */
export function vocabularyObject(tokens: readonly string[]): Record<string, number> {
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) if (!ids.has(token)) ids.set(token, id);
  return Object.fromEntries(ids); // defines own properties, so that "__proto__" is a token like any other
}

/** Tokens that are found in the text before anything else, as `added_tokens` of tokenizer.json. */
export function addedTokens(vocabulary: Vocabulary): JsonObject[] {
  const { control, unknown, userDefined } = TOKEN_TYPE;
  return vocabulary.tokens.flatMap((content, id) => {
    const type = vocabulary.types[id];
    const special = type === control || type === unknown;
    if (!special && type !== userDefined) return [];
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
}

/** The `TemplateProcessing` step that adds bos and eos; `null` where neither is added. */
export function templateProcessor(
  vocabulary: Vocabulary,
  addBos: boolean,
  addEos: boolean,
): JsonObject | null {
  const { tokens, bosId, eosId } = vocabulary;
  const bos = addBos && bosId !== undefined ? tokens[bosId] : undefined;
  const eos = addEos && eosId !== undefined ? tokens[eosId] : undefined;
  if (bos === undefined && eos === undefined) return null;
  const token = (id: string, type_id: number): JsonObject => ({ SpecialToken: { id, type_id } });
  const sequence = (id: string, type_id: number): JsonObject[] => [
    ...(bos === undefined ? [] : [token(bos, type_id)]),
    { Sequence: { id, type_id } },
    ...(eos === undefined ? [] : [token(eos, type_id)]),
  ];
  const special: [string, JsonObject][] = [];
  if (bos !== undefined) special.push([bos, { id: bos, ids: [bosId], tokens: [bos] }]);
  if (eos !== undefined && eos !== bos) special.push([eos, { id: eos, ids: [eosId], tokens: [eos] }]);
  return {
    type: "TemplateProcessing",
    single: sequence("A", 0),
    pair: [...sequence("A", 0), ...sequence("B", 1)],
    special_tokens: Object.fromEntries(special),
  };
}
