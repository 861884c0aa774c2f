/** Chat templates: Jinja programs that turn messages into a prompt, rendered as transformers does (trim_blocks, lstrip_blocks). */
import { SubbitError, inputError } from "../errors.js";
import { parse, tokenize } from "./hub-libraries.js";
import { BoundedInterpreter, TemplateRaised, templateEnvironment } from "./template-interpreter.js";
import type { ChatMessage } from "./types.js";

/** The largest published templates (with tools) have about 30 thousand characters. */
const MAX_TEMPLATE_LENGTH = 2 ** 18;
/** Characters of all messages together. */
const MAX_MESSAGES_LENGTH = 8 * 2 ** 20;

export interface ChatTemplate {
  /** Throws `input` when the template raises or fails. */
  render(messages: readonly ChatMessage[], options?: { addGenerationPrompt?: boolean }): string;
}

/**
 * Parses a template; `variables` are further names it sees, such as `bos_token`. `source` is what messages call the
 * model. Throws `input` when the template is not valid Jinja or too long.
 */
export function createChatTemplate(
  template: string,
  variables: Readonly<Record<string, unknown>>,
  source: string,
): ChatTemplate {
  if (template.length > MAX_TEMPLATE_LENGTH) {
    throw inputError(
      `The chat template of ${source} has ${template.length} characters, but at most ${MAX_TEMPLATE_LENGTH} are accepted.`,
    );
  }
  const program = guard(source, "is not valid", () =>
    parse(tokenize(template, { trim_blocks: true, lstrip_blocks: true })),
  );
  return {
    render(messages, options = {}) {
      const length = messages.reduce((sum, message) => sum + message.content.length, 0);
      if (length > MAX_MESSAGES_LENGTH) {
        throw inputError(
          `The messages have ${length} characters, but at most ${MAX_MESSAGES_LENGTH} are accepted.`,
        );
      }
      const environment = templateEnvironment({
        ...variables,
        messages: messages.map((message) => ({ ...message })),
        add_generation_prompt: options.addGenerationPrompt ?? false,
      });
      return guard(source, "failed", () => String(new BoundedInterpreter(environment).run(program).value));
    },
  };
}

/** Whatever goes wrong inside the template engine is the template's fault, or the messages': an `input` error. */
function guard<T>(source: string, what: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    if (cause instanceof SubbitError) throw cause;
    const reason = cause instanceof Error ? cause.message.slice(0, 300) : String(cause);
    if (cause instanceof TemplateRaised) {
      throw inputError(`The chat template of ${source} refuses these messages: ${reason}`, { cause });
    }
    throw inputError(`The chat template of ${source} ${what}: ${reason}.`, { cause });
  }
}
