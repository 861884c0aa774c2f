/** The running teacher behind self-text.ts: loaded only where documents are missing, ended whatever happens. */
import { inputError, type Model, type Tokenizer } from "@subbit/core";
import type { TokenText } from "@subbit/compress";
import { loadModel, type RuntimeModel } from "@subbit/runtime";
import type { Context } from "../context.js";
import { selfText } from "./self-text.js";

export interface SelfTextRequest {
  readonly teacher: Model;
  readonly teacherSha256: string;
  readonly tokenizer: Tokenizer;
  readonly tokens: number;
  readonly seed: number;
  readonly file: string;
  /** @default the runtime's own choice; the text does not depend on it */
  readonly threads?: number | undefined;
}

/** Throws `input` where no token can stand before a document, and as `selfText` does. */
export async function textByTeacher(
  { signal, onProgress }: Context,
  { teacher, tokenizer, threads, ...rest }: SelfTextRequest,
): Promise<TokenText> {
  const startId = tokenizer.bosId ?? tokenizer.eosId;
  if (startId === undefined) {
    throw inputError(
      `The teacher was to write text, but ${teacher.checkpoint.name} has neither a bos nor an eos token to begin with; give --data FILE.`,
    );
  }
  let runtime: RuntimeModel | undefined;
  // Loaded without the tokenizer: only ids are wanted.
  const open = async (): Promise<RuntimeModel> =>
    (runtime = await loadModel(teacher, undefined, { threads, signal, onProgress }));
  try {
    return await selfText(open, { ...rest, startId, stopIds: tokenizer.stopIds, onProgress, signal });
  } finally {
    await runtime?.dispose();
  }
}
