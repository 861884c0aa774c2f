/** A loaded model: what users generate with and what evaluation reads logits from. */
import { SubbitError, throwIfAborted, type ChatMessage, type ModelSpec, type Tokenizer } from "@subbit/core";
import type { Capabilities } from "../executors/types.js";
import { Generation, type GenerateOptions, type GeneratedToken, type GenerationResult } from "./generate.js";
import { summarise, type TokenProfile } from "./profile.js";
import type { TileRunner } from "./tile-runner.js";

/** Token ids, or text that the model's tokenizer encodes (with its own special tokens in front, such as a bos). */
export type Prompt = string | readonly number[];

/** Tokens that are made after the prompt before a profile: states of the model's own making, as users have them. */
export const PROFILE_WARM_UP = 32;

export interface LogitsTile {
  /** Position of the tile's first token. */
  readonly position: number;
  /** Tokens of the tile. */
  readonly count: number;
  /** [count, vocabSize]; valid until the next tile is asked for. */
  readonly logits: Float32Array;
}

export interface RuntimeModelParts {
  readonly name: string;
  readonly spec: ModelSpec;
  readonly tokenizer: Tokenizer | undefined;
  readonly contextTokens: number;
  readonly memoryBytes: number;
  readonly capabilities: Capabilities;
  readonly runner: TileRunner;
}

export class RuntimeModel {
  /** What to call it in messages. */
  readonly name: string;
  readonly spec: ModelSpec;
  readonly tokenizer: Tokenizer | undefined;
  readonly capabilities: Capabilities;
  /** Most tokens of one text, prompt and continuation together. */
  readonly contextTokens: number;
  /** Bytes of weights, KV cache and scratch. */
  readonly memoryBytes: number;
  readonly #runner: TileRunner;

  constructor(parts: RuntimeModelParts) {
    this.name = parts.name;
    this.spec = parts.spec;
    this.tokenizer = parts.tokenizer;
    this.capabilities = parts.capabilities;
    this.contextTokens = parts.contextTokens;
    this.memoryBytes = parts.memoryBytes;
    this.#runner = parts.runner;
  }

  get vocabSize(): number {
    return this.spec.vocabSize;
  }

  /**
   * Streams tokens; the iterator returns the whole result. What the prompt shares with the last text is not computed again.
   * Throws `usage` for a prompt that is empty or longer than the context, `interrupted` when the signal fires.
   */
  generate(
    prompt: Prompt,
    options: GenerateOptions = {},
  ): AsyncGenerator<GeneratedToken, GenerationResult, undefined> {
    return this.#generation(prompt, options).tokens();
  }

  /** As `generate`, all at once. A fired signal gives what was made so far, with `stopReason` "aborted". */
  async complete(prompt: Prompt, options: GenerateOptions = {}): Promise<GenerationResult> {
    const generation = this.#generation(prompt, options);
    try {
      for await (const token of generation.tokens()) void token;
    } catch (error) {
      if (!(error instanceof SubbitError && error.code === "interrupted")) throw error;
    }
    return generation.result;
  }

  /** The assistant's next message, by the model's chat template. Throws `usage` where the model has none. */
  chat(
    messages: readonly ChatMessage[],
    options: GenerateOptions = {},
  ): AsyncGenerator<GeneratedToken, GenerationResult, undefined> {
    return this.generate(this.encodeChat(messages), options);
  }

  /** Ids of the conversation by the chat template, ready for the assistant's answer. */
  encodeChat(messages: readonly ChatMessage[]): number[] {
    const tokenizer = this.#needTokenizer();
    const prompt = tokenizer.renderChat(messages, { addGenerationPrompt: true });
    if (prompt === undefined) {
      throw new SubbitError(
        "usage",
        `A chat was asked for, but ${this.name} has no chat template; use generate with a plain prompt.`,
      );
    }
    return tokenizer.encode(prompt);
  }

  /** Logits of every position, [tokens, vocabSize]. */
  async logits(ids: readonly number[], options: { signal?: AbortSignal } = {}): Promise<Float32Array> {
    const logits = new Float32Array(ids.length * this.vocabSize);
    for await (const tile of this.tiles(ids, options.signal)) {
      logits.set(tile.logits, tile.position * this.vocabSize);
    }
    return logits;
  }

  /**
   * Logits of every position in tiles, so that no [tokens, vocabSize] is held. What the text before `from` shares with the last
   * one is not computed again; logits have the same bits either way.
   *
   * @param from first position whose logits are wanted
   */
  async *tiles(
    ids: ArrayLike<number>,
    signal?: AbortSignal,
    from = 0,
  ): AsyncGenerator<LogitsTile, void, undefined> {
    const all = this.#checkIds(Array.from(ids));
    const { tileTokens: tile } = this.#runner.program;
    if (!(Number.isInteger(from) && from >= 0 && from <= all.length)) {
      throw new SubbitError(
        "usage",
        `Logits from position ${from} on were asked for, but the text has ${all.length} tokens; give a whole number up to that.`,
      );
    }
    const buffer = new Float32Array(Math.min(tile, all.length - from) * this.vocabSize);
    for (let position = from; position < all.length; position += tile) {
      throwIfAborted(signal);
      const count = Math.min(tile, all.length - position);
      const logits = buffer.subarray(0, count * this.vocabSize);
      await this.#runner.logitsOf(all, position, position + count, logits, () => throwIfAborted(signal));
      yield { position, count, logits };
    }
  }

  /** As `tiles`, with a callback that may be asynchronous. */
  async forEachLogits(
    ids: ArrayLike<number>,
    callback: (tile: LogitsTile) => void | Promise<void>,
    options: { signal?: AbortSignal } = {},
  ): Promise<void> {
    for await (const tile of this.tiles(ids, options.signal)) await callback(tile);
  }

  /**
   * layers + 1 arrays [tokens, hiddenSize]: what enters the first block, what leaves each block, the last one after the final
   * norm (the convention of transformers) as the head reads it, [tokens, embeddingSize].
   */
  async hidden(ids: readonly number[], options: { signal?: AbortSignal } = {}): Promise<Float32Array[]> {
    const all = this.#checkIds([...ids]);
    const { tileTokens: tile } = this.#runner.program;
    const { hiddenSize, layers, ends } = this.spec;
    const widths = Array.from({ length: layers + 1 }, (_, i) =>
      i < layers ? hiddenSize : ends.embeddingSize,
    );
    const states = widths.map((width) => new Float32Array(all.length * width));
    for (let position = 0; position < all.length; position += tile) {
      throwIfAborted(options.signal);
      const part = await this.#runner.hiddenOf(all, position, Math.min(position + tile, all.length));
      part.forEach((state, i) => states[i].set(state, position * widths[i]));
    }
    return states;
  }

  /**
   * Where the time of one greedy token goes, PROFILE_WARM_UP tokens after the prompt. Instructions are timed one by one, each at its best of `rounds`,
   * so that waiting for one another does not count; meant for a model on one thread.
   */
  async profile(prompt: Prompt, options: { rounds?: number } = {}): Promise<TokenProfile> {
    // Generating first teaches the head's sketch and lets the optimising compiler take over.
    const { ids } = await this.complete(prompt, { maxTokens: PROFILE_WARM_UP, ignoreEos: true });
    const all = [...this.#promptIds(prompt), ...ids];
    return summarise(await this.#runner.timeInstructions(this.#checkIds(all), options.rounds ?? 50));
  }

  /** Forgets what the KV cache holds; results never depend on it. */
  reset(): void {
    this.#runner.reset();
  }

  /** Ends the threads. Nothing may be asked of the model afterwards. */
  async dispose(): Promise<void> {
    await this.#runner.dispose();
  }

  #generation(prompt: Prompt, options: GenerateOptions): Generation {
    const ids = this.#promptIds(prompt);
    const context = { runner: this.#runner, contextTokens: this.contextTokens, tokenizer: this.tokenizer };
    return new Generation(context, this.#checkIds(ids), options);
  }

  #promptIds(prompt: Prompt): number[] {
    if (typeof prompt !== "string") return [...prompt];
    return this.#needTokenizer().encode(prompt, { addSpecialTokens: true });
  }

  #needTokenizer(): Tokenizer {
    if (this.tokenizer === undefined) {
      throw new SubbitError(
        "usage",
        `${this.name} was loaded without a tokenizer; give token ids instead of text.`,
      );
    }
    return this.tokenizer;
  }

  #checkIds(ids: number[]): number[] {
    if (ids.length === 0) throw new SubbitError("usage", "The prompt has no tokens; give at least one.");
    if (ids.length > this.contextTokens) {
      throw new SubbitError(
        "usage",
        `The text has ${ids.length} tokens, but the context holds ${this.contextTokens}; shorten it or load the model with a larger contextTokens.`,
      );
    }
    const wrong = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < this.vocabSize));
    if (wrong !== undefined) {
      throw new SubbitError(
        "usage",
        `The token id ${wrong} was given, but ids of ${this.name} run from 0 to ${this.vocabSize - 1}.`,
      );
    }
    return ids;
  }
}
