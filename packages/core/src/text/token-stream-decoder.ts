/**
 * Text of tokens that arrive one by one. A character whose bytes are spread over several tokens comes out whole with
 * the last of them; the pieces joined are what decoding all tokens at once gives.
 */
import type { Tokenizer } from "./types.js";

/** Tokens that are held back at most: a stream of bytes that are never text must not be held for ever. */
const MAX_HELD = 64;

export interface TokenStreamOptions {
  /** Tokens that came before, usually the prompt: a leading space of the first new token is then kept. */
  readonly context?: readonly number[];
  /** @default true */
  readonly skipSpecialTokens?: boolean;
}

export class TokenStreamDecoder {
  readonly #tokenizer: Tokenizer;
  readonly #skipSpecialTokens: boolean;
  /** Tokens decoded together: first some whose text is out already (they give context), then those since. */
  #window: number[];
  /** Length of the part of `#window` that is context. */
  #context: number;
  /** Characters of the window's text that are out. */
  #emitted: number;

  constructor(tokenizer: Tokenizer, options: TokenStreamOptions = {}) {
    this.#tokenizer = tokenizer;
    this.#skipSpecialTokens = options.skipSpecialTokens ?? true;
    this.#window = (options.context ?? []).slice(-8);
    this.#context = this.#window.length;
    this.#emitted = this.#decode().length;
  }

  /** The text that is certain after one more token; often one token's, sometimes none. */
  push(id: number): string {
    this.#window.push(id);
    const text = this.#decode();
    // An unfinished character decodes to U+FFFD at the end; what stands before it is final.
    const finished = text.replace(/\ufffd+$/, "").length;
    const held = this.#window.length - this.#context;
    if (finished < text.length && held < MAX_HELD) return this.#emit(text.slice(0, finished));
    const piece = this.#emit(text);
    if (piece !== "") this.#forget();
    return piece;
  }

  /** What is held back, finished or not. */
  flush(): string {
    return this.#emit(this.#decode());
  }

  #emit(text: string): string {
    const piece = text.slice(this.#emitted);
    this.#emitted = Math.max(this.#emitted, text.length);
    return piece;
  }

  /** Keeps only the newest tokens, as context for the next. */
  #forget(): void {
    this.#window = this.#window.slice(this.#context);
    this.#context = this.#window.length;
    this.#emitted = this.#decode().length;
  }

  #decode(): string {
    return this.#tokenizer.decode(this.#window, { skipSpecialTokens: this.#skipSpecialTokens });
  }
}
