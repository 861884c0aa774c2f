/** The training windows of a run, from what --data names: the one place where its texts come from. */
import type { Corpus } from "@subbit/core";
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
  const texts: (TokenText & { weight?: number | undefined })[] = [];
  for (const source of sources) {
    const { weight } = source;
    if (source.kind === "self") texts.push({ ...(await writeSelf(source.tokens)), weight });
    else {
      const { ids, description } = await read(source.path);
      texts.push({ ids, name: description, weight });
    }
  }
  const { mixWindows } = await import("@subbit/compress");
  const { parts, ...windows } = mixWindows(texts, { seqlen, tokens, seed });
  return { windows, names: parts.map(describePart) };
}

/** `a.txt, plain, 90,000 tokens: 100 of 175 windows`, or how often each comes where there are too few. */
function describePart({ name, available, windows }: MixedPart): string {
  if (windows === available) return name;
  const count = (value: number): string => value.toLocaleString("en-US");
  if (windows < available) return `${name}: ${count(windows)} of ${count(available)} windows`;
  return `${name}: ${count(available)} windows ${Number((windows / available).toFixed(2))} times`;
}
