/** The training windows of a run, from what --data names: the one place where its texts come from. */
import { SubbitError, type Corpus } from "@subbit/core";
import type { MixedPart, TokenText, Windows } from "@subbit/compress";
import type { DataSource } from "../options/data.js";

export interface TrainingData {
  readonly windows: Windows;
  /** What they are made of, one sentence a text. */
  readonly names: readonly string[];
}

export interface DataRequest {
  readonly sources: readonly DataSource[];
  readonly seqlen: number;
  /** Tokens that the run trains on. @default one pass over the texts */
  readonly tokens?: number | undefined;
  readonly seed: number;
  readonly read: (file: string) => Promise<Corpus>;
  /** Has the teacher write a text. */
  readonly writeSelf: (tokens: number) => Promise<TokenText>;
}

/**
 * Reads or makes every text and mixes their windows. Throws `input` for a text that cannot be read or does not fill a
 * window.
 */
export async function readTrainingData(request: DataRequest): Promise<TrainingData> {
  const { sources, seqlen, tokens, seed, read, writeSelf } = request;
  for (const source of sources) {
    if (source.kind === "self" && source.tokens < seqlen) {
      throw new SubbitError(
        "usage",
        `self:${source.tokens} asks for fewer tokens than a training window has, ${seqlen}; ask for more or give a smaller --seqlen.`,
      );
    }
  }
  const texts = new Map<DataSource, TokenText>();
  // Files first: a bad one is told before the teacher spends minutes on writing.
  for (const source of sources) {
    if (source.kind !== "file") continue;
    const { ids, description } = await read(source.path);
    texts.set(source, { ids, name: description });
  }
  for (const source of sources) if (source.kind === "self") texts.set(source, await writeSelf(source.tokens));
  const parts = sources.map((source) => ({ ...textOf(texts, source), weight: source.weight }));
  const { mixWindows } = await import("@subbit/compress");
  const { parts: mixed, ...windows } = mixWindows(parts, { seqlen, tokens, seed });
  return { windows, names: mixed.map(describePart) };
}

function textOf(texts: ReadonlyMap<DataSource, TokenText>, source: DataSource): TokenText {
  const text = texts.get(source);
  if (text === undefined) throw new SubbitError("internal", "A text of the training data was not read.");
  return text;
}

/** `a.txt, plain, 90,000 tokens: 100 of 175 windows`, or how often each comes where there are too few. */
function describePart({ name, available, windows }: MixedPart): string {
  if (windows === available) return name;
  const count = (value: number): string => value.toLocaleString("en-US");
  if (windows < available) return `${name}: ${count(windows)} of ${count(available)} windows`;
  return `${name}: ${count(available)} windows ${Number((windows / available).toFixed(2))} times`;
}
