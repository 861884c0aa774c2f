/** The training windows of a run, from the files that --data names: the one place where its texts come from. */
import { inputError, type Corpus } from "@subbit/core";
import type { Windows } from "@subbit/compress";

export interface TrainingData {
  readonly windows: Windows;
  /** What they are made of, one sentence a text. */
  readonly names: readonly string[];
}

/** Every text cut into windows of `seqlen` without overlap. Throws `input` for one that does not fill a window. */
export async function readTrainingData(
  files: readonly string[],
  seqlen: number,
  read: (file: string) => Promise<Corpus>,
): Promise<TrainingData> {
  const parts: Int32Array[] = [];
  const names: string[] = [];
  for (const file of files) {
    const { ids, description } = await read(file);
    const count = Math.floor(ids.length / seqlen);
    if (count === 0) {
      throw inputError(
        `A training window has ${seqlen} tokens, but ${file} holds only ${ids.length}; give more text or a smaller --seqlen.`,
      );
    }
    parts.push(ids.subarray(0, count * seqlen));
    names.push(description);
  }
  const ids = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    ids.set(part, at);
    at += part.length;
  }
  return { windows: { ids, count: ids.length / seqlen, seqlen }, names };
}
