/**
 * Opening a checkpoint's tokenizer: tokenizer.json runs on `@huggingface/tokenizers`, special ids and the chat template
 * come from the files beside it.
 */
import { z } from "zod";
import type { Checkpoint } from "../checkpoints/types.js";
import { inputError } from "../errors.js";
import { createChatTemplate, type ChatTemplate } from "./chat-template.js";
import { createHubTokenizer } from "./exact-tokenizer.js";
import type { HubTokenizer } from "./hub-libraries.js";
import type { ChatMessage, Tokenizer } from "./types.js";

const MAX_TOKEN_ID = 2 ** 24;
const tokenId = z.number().int().min(0).max(MAX_TOKEN_ID);

/** Ids by token, or (Unigram) tokens with scores, in the order of their ids. */
type Vocabulary = Readonly<Record<string, number>> | readonly (readonly [string, number])[];

/** By hand: a schema would copy a hundred thousand entries. */
function isVocabulary(value: unknown): value is Vocabulary {
  if (Array.isArray(value)) {
    return value.every(
      (pair) =>
        Array.isArray(pair) &&
        pair.length === 2 &&
        typeof pair[0] === "string" &&
        typeof pair[1] === "number",
    );
  }
  if (typeof value !== "object" || value === null) return false;
  return Object.values(value).every(
    (id) => typeof id === "number" && Number.isInteger(id) && id >= 0 && id <= MAX_TOKEN_ID,
  );
}

/** One more than the largest id. */
function vocabularySize(vocabulary: Vocabulary, added: readonly { readonly id: number }[]): number {
  let size = Array.isArray(vocabulary) ? vocabulary.length : 0;
  if (size === 0) for (const id of Object.values(vocabulary) as number[]) size = Math.max(size, id + 1);
  for (const { id } of added) size = Math.max(size, id + 1);
  return size;
}

/** What of tokenizer.json is checked before the library reads it. */
const definitionSchema = z.looseObject({
  model: z.looseObject({
    // Absent in the oldest files, which are all BPE.
    type: z.enum(["BPE", "Unigram", "WordPiece"], { error: "not BPE, Unigram or WordPiece" }).optional(),
    vocab: z.custom<Vocabulary>(isVocabulary, { error: "not a table of tokens" }),
  }),
  added_tokens: z
    .array(z.looseObject({ id: tokenId, content: z.string(), special: z.boolean().optional() }))
    .default([]),
  normalizer: z.unknown().default(null),
  pre_tokenizer: z.unknown().default(null),
  post_processor: z.unknown().default(null),
  decoder: z.unknown().default(null),
});

const specialToken = z.union([
  z.string(),
  z.looseObject({ content: z.string() }).transform((token) => token.content),
]);

const configSchema = z.looseObject({
  bos_token: specialToken.nullish(),
  eos_token: specialToken.nullish(),
  unk_token: specialToken.nullish(),
  pad_token: specialToken.nullish(),
  add_bos_token: z.boolean().nullish(),
  chat_template: z
    .union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))])
    .nullish(),
});

const idsSchema = z.looseObject({
  bos_token_id: tokenId.nullish(),
  eos_token_id: z.union([tokenId, z.array(tokenId)]).nullish(),
});

interface SideFiles {
  readonly config: z.infer<typeof configSchema>;
  /** generation_config.json and config.json, in this order. */
  readonly ids: readonly z.infer<typeof idsSchema>[];
  /** chat_template.jinja */
  readonly template: string | undefined;
}

/**
 * The checkpoint's tokenizer. Throws `input` when tokenizer.json is missing or malformed; a broken chat template is
 * reported when it is first used.
 */
export async function openTokenizer(checkpoint: Checkpoint): Promise<Tokenizer> {
  const text = await checkpoint.readText("tokenizer.json");
  if (text === undefined) {
    throw inputError(
      `${checkpoint.name} has no tokenizer.json, which is needed to turn text into tokens; add the file of the original model.`,
    );
  }
  const side: SideFiles = {
    config: await readSide(checkpoint, "tokenizer_config.json", configSchema),
    ids: [
      await readSide(checkpoint, "generation_config.json", idsSchema),
      check(idsSchema, checkpoint.config, "config.json", checkpoint.name),
    ],
    template: await checkpoint.readText("chat_template.jinja"),
  };
  return createTokenizer(parseJson(text, "tokenizer.json", checkpoint.name), side, checkpoint.name);
}

async function readSide<T>(checkpoint: Checkpoint, fileName: string, schema: z.ZodType<T>): Promise<T> {
  const text = await checkpoint.readText(fileName);
  return check(
    schema,
    text === undefined ? {} : parseJson(text, fileName, checkpoint.name),
    fileName,
    checkpoint.name,
  );
}

function parseJson(text: string, fileName: string, source: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw inputError(`${fileName} of ${source} is not valid JSON.`, { cause });
  }
}

function check<T>(schema: z.ZodType<T>, value: unknown, fileName: string, source: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw inputError(
    `${fileName} of ${source} is malformed at ${issue.path.join(".") || "its top"}: ${issue.message}.`,
  );
}

function createTokenizer(json: unknown, side: SideFiles, source: string): Tokenizer {
  const definition = check(definitionSchema, json, "tokenizer.json", source);
  const hub = guard(source, () => createHubTokenizer(definition));
  const vocabSize = vocabularySize(definition.model.vocab, definition.added_tokens);
  return new CheckpointTokenizer(hub, vocabSize, definition.added_tokens, side, source);
}

/** The library trusts its definition: a malformed one may fail where it is built, or where it is first used. */
function guard<T>(source: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.slice(0, 200) : String(cause);
    throw inputError(`tokenizer.json of ${source} cannot be used: ${reason}.`, { cause });
  }
}

class CheckpointTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bosId?: number;
  readonly eosId?: number;
  readonly stopIds: ReadonlySet<number>;
  readonly #hub: HubTokenizer;
  readonly #special: ReadonlySet<number>;
  readonly #side: SideFiles;
  readonly #source: string;
  #template: ChatTemplate | undefined;

  constructor(
    hub: HubTokenizer,
    vocabSize: number,
    addedTokens: readonly { readonly id: number; readonly special?: boolean | undefined }[],
    side: SideFiles,
    source: string,
  ) {
    this.#hub = hub;
    this.#side = side;
    this.#source = source;
    this.#special = new Set(addedTokens.filter((token) => token.special === true).map((token) => token.id));
    this.vocabSize = vocabSize;
    const idOf = (token: string | null | undefined): number | undefined =>
      token == null ? undefined : hub.token_to_id(token);
    const eosIds = side.ids.flatMap((ids) => ids.eos_token_id ?? []);
    const bosId =
      idOf(side.config.bos_token) ?? side.ids.find((ids) => ids.bos_token_id != null)?.bos_token_id;
    const eosId = idOf(side.config.eos_token) ?? eosIds[0];
    if (bosId != null) this.bosId = bosId;
    if (eosId !== undefined) this.eosId = eosId;
    this.stopIds = new Set(eosId === undefined ? eosIds : [eosId, ...eosIds]);
  }

  encode(text: string, options: { addSpecialTokens?: boolean } = {}): number[] {
    const special = options.addSpecialTokens ?? false;
    const { ids } = this.#hub.encode(text, { add_special_tokens: special });
    // tokenizer_config.json may ask for a bos that tokenizer.json's own template does not add.
    const { bosId } = this;
    const missing =
      special && this.#side.config.add_bos_token === true && bosId !== undefined && ids[0] !== bosId;
    return missing ? [bosId, ...ids] : ids;
  }

  decode(ids: readonly number[], options: { skipSpecialTokens?: boolean } = {}): string {
    // Ids beyond the tokenizer's vocabulary exist in models with a padded embedding; they have no text.
    const known = ids.filter(
      (id) =>
        this.#hub.id_to_token(id) !== undefined &&
        !(options.skipSpecialTokens === true && this.#special.has(id)),
    );
    return known.length === 0 ? "" : guard(this.#source, () => this.#hub.decode(known));
  }

  renderChat(
    messages: readonly ChatMessage[],
    options: { addGenerationPrompt?: boolean } = {},
  ): string | undefined {
    this.#template ??= this.#compileTemplate();
    return this.#template?.render(messages, options);
  }

  #compileTemplate(): ChatTemplate | undefined {
    const { config } = this.#side;
    const listed = config.chat_template;
    const inConfig = Array.isArray(listed)
      ? (listed.find((entry) => entry.name === "default") ?? listed[0])?.template
      : listed;
    // As in transformers: the file of its own wins over the field.
    const template = this.#side.template ?? inConfig;
    if (template == null) return undefined;
    const { bos_token, eos_token, unk_token, pad_token } = config;
    const tokens = { bos_token, eos_token, unk_token, pad_token };
    const variables = Object.fromEntries(Object.entries(tokens).filter(([, token]) => token != null));
    return createChatTemplate(template, variables, this.#source);
  }
}
