/** Text and tokens: what every command, the evaluator and the compressor need of a tokenizer. */

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

export interface Tokenizer {
  readonly vocabSize: number;
  readonly bosId?: number;
  readonly eosId?: number;
  /** Ids that end a generation: eos of tokenizer_config.json, generation_config.json and config.json. */
  readonly stopIds: ReadonlySet<number>;
  /** `addSpecialTokens` follows the tokenizer's own template (a bos for Llama, nothing for SmolLM2). @default false */
  encode(text: string, options?: { addSpecialTokens?: boolean }): number[];
  /** @default skipSpecialTokens false */
  decode(ids: readonly number[], options?: { skipSpecialTokens?: boolean }): string;
  /** `undefined` when the model has no chat template. Throws `input` when the template fails or raises. */
  renderChat(
    messages: readonly ChatMessage[],
    options?: { addGenerationPrompt?: boolean },
  ): string | undefined;
}
