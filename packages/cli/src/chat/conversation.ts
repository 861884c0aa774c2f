/**
 * A conversation as token ids: by the model's chat template where it has one, else as one text that user and model
 * write in turn. Whatever no longer fits the context is forgotten from the start.
 */
import { inputError, type ChatMessage, type Tokenizer } from "@subbit/core";

export interface ConversationOptions {
  /** Longest context of the model, in tokens. */
  readonly maxPositions: number;
  /** Room to keep for a reply, in tokens. */
  readonly maxTokens: number;
  /** @default no system message */
  readonly system?: string | undefined;
}

export interface Conversation {
  /** Whether a chat template is used; otherwise texts are continued. */
  readonly templated: boolean;
  /** Ids of everything so far and `text`; `forgotten` says that the start had to go. */
  ask(text: string): { ids: number[]; forgotten: boolean };
  /** What the model answered to the last `ask`. */
  answer(text: string): void;
  reset(): void;
}

/** Throws `input` when a system message is given to a model without template. */
export function createConversation(tokenizer: Tokenizer, options: ConversationOptions): Conversation {
  const templated =
    tokenizer.renderChat([{ role: "user", content: "Hi" }], { addGenerationPrompt: true }) !== undefined;
  if (!templated && options.system !== undefined) {
    throw inputError("A system message was given, but the model has no chat template; leave it out.");
  }
  return templated ? new TemplatedConversation(tokenizer, options) : new ContinuedText(tokenizer, options);
}

function roomFor({ maxPositions, maxTokens }: ConversationOptions): number {
  // A reply limit larger than the context must still leave half of it for the question.
  return Math.max(Math.ceil(maxPositions / 2), maxPositions - maxTokens);
}

class TemplatedConversation implements Conversation {
  readonly templated = true;
  readonly #tokenizer: Tokenizer;
  readonly #options: ConversationOptions;
  readonly #system: readonly ChatMessage[];
  #turns: ChatMessage[] = [];

  constructor(tokenizer: Tokenizer, options: ConversationOptions) {
    this.#tokenizer = tokenizer;
    this.#options = options;
    this.#system = options.system === undefined ? [] : [{ role: "system", content: options.system }];
  }

  ask(text: string): { ids: number[]; forgotten: boolean } {
    this.#turns.push({ role: "user", content: text });
    const room = roomFor(this.#options);
    let ids = this.#encode();
    let forgotten = false;
    // Questions and answers leave in pairs, so that the first turn left is always a question.
    while (ids.length > room && this.#turns.length > 2) {
      this.#turns.splice(0, 2);
      ids = this.#encode();
      forgotten = true;
    }
    return { ids, forgotten };
  }

  answer(text: string): void {
    this.#turns.push({ role: "assistant", content: text });
  }

  reset(): void {
    this.#turns = [];
  }

  #encode(): number[] {
    const messages = [...this.#system, ...this.#turns];
    return this.#tokenizer.encode(this.#tokenizer.renderChat(messages, { addGenerationPrompt: true }) ?? "");
  }
}

class ContinuedText implements Conversation {
  readonly templated = false;
  readonly #tokenizer: Tokenizer;
  readonly #options: ConversationOptions;
  #text = "";

  constructor(tokenizer: Tokenizer, options: ConversationOptions) {
    this.#tokenizer = tokenizer;
    this.#options = options;
  }

  ask(text: string): { ids: number[]; forgotten: boolean } {
    const gap = this.#text === "" || /\s$/.test(this.#text) ? "" : " ";
    this.#text += gap + text;
    const ids = this.#tokenizer.encode(this.#text, { addSpecialTokens: true });
    const room = roomFor(this.#options);
    return ids.length > room
      ? { ids: ids.slice(ids.length - room), forgotten: true }
      : { ids, forgotten: false };
  }

  answer(text: string): void {
    this.#text += text;
  }

  reset(): void {
    this.#text = "";
  }
}
