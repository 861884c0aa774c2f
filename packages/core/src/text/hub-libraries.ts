/**
 * The two Hugging Face libraries as this package uses them. Their declaration files import one another without file
 * extensions, which strict Node resolution does not follow, so what is used is declared here.
 */
import * as jinja from "@huggingface/jinja";
import * as tokenizers from "@huggingface/tokenizers";

export interface HubTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: readonly number[]): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
}

export const HubTokenizer = (tokenizers as unknown as { Tokenizer: unknown }).Tokenizer as new (
  definition: object,
  config: { clean_up_tokenization_spaces: boolean },
) => HubTokenizer;

/** A value inside a running template. */
export interface JinjaValue {
  readonly type: string;
  readonly value: unknown;
}

export interface JinjaEnvironment {
  set(name: string, value: unknown): JinjaValue;
}

interface JinjaInterpreter {
  run(program: object): JinjaValue;
  evaluate(statement: object | undefined, environment: JinjaEnvironment): JinjaValue;
}

interface JinjaLibrary {
  readonly Environment: new () => JinjaEnvironment;
  readonly Interpreter: new (environment: JinjaEnvironment) => JinjaInterpreter;
  readonly tokenize: (
    template: string,
    options: { trim_blocks: boolean; lstrip_blocks: boolean },
  ) => readonly object[];
  readonly parse: (tokens: readonly object[]) => object;
}

const library = jinja as unknown as JinjaLibrary;
export const { Environment, Interpreter, tokenize, parse } = library;
