/** Tokens one by one: sampling, streaming text, stop rules and the figures of a run. */
import { SubbitError, TokenStreamDecoder, throwIfAborted, type Tokenizer } from "@subbit/core";
import {
  createSampler,
  type LargestLogits,
  type SamplingOptions,
  type ShortlistSampler,
} from "../sampling/sampler.js";
import { StopScanner } from "./stop-scanner.js";
import type { TileRunner } from "./tile-runner.js";

export interface GenerateOptions extends SamplingOptions {
  /** @default 256 */
  readonly maxTokens?: number | undefined;
  /** Text that ends the generation; it is not part of the output. @default none */
  readonly stop?: string | readonly string[] | undefined;
  /** End-of-text tokens do not end the generation. @default false */
  readonly ignoreEos?: boolean | undefined;
  /** A fired signal makes the iteration throw `interrupted` before the next tile of tokens. */
  readonly signal?: AbortSignal | undefined;
}

export interface GeneratedToken {
  readonly id: number;
  /** Text that became certain with this token; pieces joined are the whole text. May be empty. */
  readonly text: string;
}

/**
 * - `eos`: an end-of-text token came (it is the last of `ids`, without text)
 * - `stop`: a stop string came
 * - `length`: `maxTokens` were made
 * - `context`: the context is full
 * - `aborted`: the signal fired
 */
export type StopReason = "eos" | "stop" | "length" | "context" | "aborted";

export interface GenerationResult {
  readonly text: string;
  readonly ids: readonly number[];
  readonly promptTokens: number;
  /** Tokens of the prompt that an earlier text had left in the cache. */
  readonly reusedTokens: number;
  readonly prefillTokensPerSecond: number;
  /** 0 where fewer than two tokens were made. */
  readonly decodeTokensPerSecond: number;
  readonly stopReason: StopReason;
}

export interface GenerationContext {
  readonly runner: TileRunner;
  readonly contextTokens: number;
  readonly tokenizer: Tokenizer | undefined;
}

/** One run; `tokens` may be iterated once, `result` says what came of it so far. */
export class Generation {
  readonly #context: GenerationContext;
  readonly #prompt: readonly number[];
  readonly #options: GenerateOptions;
  readonly #ids: number[] = [];
  #text = "";
  #stopReason: StopReason = "aborted";
  #reused = 0;
  #prefillMs = 0;
  #decodeMs = 0;
  #decoded = 0;

  constructor(context: GenerationContext, prompt: readonly number[], options: GenerateOptions) {
    this.#context = context;
    this.#prompt = prompt;
    this.#options = options;
  }

  get result(): GenerationResult {
    const perSecond = (tokens: number, ms: number): number =>
      tokens > 0 && ms > 0 ? (tokens * 1000) / ms : 0;
    return {
      text: this.#text,
      ids: [...this.#ids],
      promptTokens: this.#prompt.length,
      reusedTokens: this.#reused,
      prefillTokensPerSecond: perSecond(this.#prompt.length - this.#reused, this.#prefillMs),
      decodeTokensPerSecond: perSecond(this.#decoded, this.#decodeMs),
      stopReason: this.#stopReason,
    };
  }

  async *tokens(): AsyncGenerator<GeneratedToken, GenerationResult, undefined> {
    const { tokenizer, contextTokens } = this.#context;
    const { maxTokens = 256, stop = [], ignoreEos = false } = this.#options;
    if (!(Number.isInteger(maxTokens) && maxTokens >= 0)) {
      throw new SubbitError(
        "usage",
        `maxTokens = ${maxTokens} was asked, but it must be a whole number, 0 or more.`,
      );
    }
    const sampler = createSampler(this.#options);
    const scanner = new StopScanner(typeof stop === "string" ? [stop] : stop);
    const decoder = tokenizer && new TokenStreamDecoder(tokenizer, { context: this.#prompt });
    const all = [...this.#prompt];
    /** Tokens whose text is not all out: a character is unfinished, or it may be the beginning of a stop string. */
    let waiting: number[] = [];
    let certain = "";
    const release = (): GeneratedToken[] => {
      const tokens = waiting.map((id, i) => ({ id, text: i === waiting.length - 1 ? certain : "" }));
      if (waiting.length > 0) this.#text += certain;
      waiting = [];
      certain = "";
      return tokens;
    };

    this.#stopReason = "length";
    while (this.#ids.length < maxTokens) {
      if (all.length > contextTokens) {
        this.#stopReason = "context";
        break;
      }
      const id = await this.#choose(sampler, all);
      all.push(id);
      this.#ids.push(id);
      waiting.push(id);
      if (!ignoreEos && tokenizer?.stopIds.has(id) === true) {
        this.#stopReason = "eos";
        break;
      }
      const piece = decoder?.push(id) ?? "";
      certain += scanner.push(piece);
      if (scanner.stopped) {
        this.#stopReason = "stop";
        break;
      }
      if (tokenizer === undefined || (piece !== "" && !scanner.holding)) yield* release();
    }
    if (!scanner.stopped) {
      certain += scanner.push(decoder?.flush() ?? "");
      if (scanner.stopped) this.#stopReason = "stop";
      else certain += scanner.flush();
    }
    // Bytes of a character that never ended, after a token that is out already, are not text.
    yield* release();
    return this.result;
  }

  async #choose(sampler: ShortlistSampler, all: readonly number[]): Promise<number> {
    const scores = await this.#forward(all, sampler.wanted(all));
    if (scores instanceof Float32Array) return sampler.next(scores, all);
    const id = sampler.nextOf(scores, all);
    if (id !== undefined) return id;
    const logits = await this.#context.runner.logitsAfter(all, () => undefined);
    if (logits instanceof Float32Array) return sampler.next(logits, all);
    throw new SubbitError("internal", "All logits were asked for, but a part of them came.");
  }

  async #forward(all: readonly number[], wanted: number): Promise<Float32Array | LargestLogits> {
    const { runner } = this.#context;
    const prefill = this.#ids.length === 0;
    if (prefill) this.#reused = Math.min(runner.cachedPrefix(all), all.length - 1);
    const begin = performance.now();
    try {
      return await runner.logitsAfter(all, () => throwIfAborted(this.#options.signal), wanted);
    } catch (error) {
      this.#stopReason = "aborted";
      throw error;
    } finally {
      const ms = performance.now() - begin;
      if (prefill) this.#prefillMs += ms;
      else {
        this.#decodeMs += ms;
        this.#decoded++;
      }
    }
  }
}
