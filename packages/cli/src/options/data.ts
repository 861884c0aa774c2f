/** What a training learns from: `--data FILE[:WEIGHT]`, as often as there are texts, and `self:TOKENS[:WEIGHT]`. */
import { existsSync } from "node:fs";
import { InvalidArgumentError, Option, type Command } from "commander";
import { integer, nonEmpty, number } from "./parse.js";

/** A text file, or text that the teacher writes itself; `weight` is the share of windows relative to the others. */
export type DataSource =
  | { readonly kind: "file"; readonly path: string; readonly weight?: number }
  | { readonly kind: "self"; readonly tokens: number; readonly weight?: number };

export interface DataOptions {
  readonly data: readonly DataSource[];
}

const MAX_SOURCES = 256;
/** Their file, some six bytes a token, is read as one string. */
const MAX_SELF_TOKENS = 2 ** 26;

export function addDataOption(command: Command, defaultText: string): Command {
  return command.addOption(
    new Option(
      "--data <file[:weight]>",
      `text to train on, any number of times, with its share of the training relative to the others; self:TOKENS has the teacher write that many (default: ${defaultText})`,
    )
      .argParser((text: string, before: readonly DataSource[]) => {
        if (before.length >= MAX_SOURCES) throw new InvalidArgumentError(`Give at most ${MAX_SOURCES}.`);
        return [...before, parseDataSource(text)];
      })
      .default([] as readonly DataSource[], "none"),
  );
}

/** `FILE`, `FILE:WEIGHT`, `self:TOKENS` or `self:TOKENS:WEIGHT`; a file whose whole name exists is that file. */
export function parseDataSource(text: string): DataSource {
  nonEmpty(text);
  const self = /^self:([^:]*)(?::(.*))?$/i.exec(text);
  if (self !== null) {
    const tokens = integer({ min: 1, max: MAX_SELF_TOKENS })(self[1]);
    return { kind: "self", tokens, ...(self[2] !== undefined && { weight: parseWeight(self[2]) }) };
  }
  const weighted = /^(.+):([^:/\\]*)$/.exec(text);
  // A drive's letter is no name to weigh.
  if (weighted === null || /^[a-z]$/i.test(weighted[1]) || existsSync(text))
    return { kind: "file", path: text };
  return { kind: "file", path: weighted[1], weight: parseWeight(weighted[2]) };
}

function parseWeight(text: string): number {
  try {
    return number({ above: 0, max: 1e9 })(text);
  } catch {
    throw new InvalidArgumentError(
      `The weight behind the last colon must be a number above 0, not "${text}".`,
    );
  }
}
