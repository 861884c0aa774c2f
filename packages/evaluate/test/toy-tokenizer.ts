/** A tokenizer that takes the longest piece that fits: joins pieces over borders, as byte pairs do. */
import type { Tokenizer } from "@subbit/core";

export interface ToyOptions {
  readonly bos?: string;
  readonly eos?: string;
  /** With special tokens, a bos in front. */
  readonly addBos?: boolean;
}

export function createTokenizerFrom(pieces: readonly string[], options: ToyOptions = {}): Tokenizer {
  const { bos, eos, addBos = false } = options;
  const all = [...pieces, ...[bos, eos].filter((token) => token !== undefined)];
  const byLength = [...all].sort((a, b) => b.length - a.length);
  const idOf = (token: string): { id: number } => ({ id: all.indexOf(token) });
  return {
    vocabSize: all.length,
    ...(bos !== undefined && { bosId: idOf(bos).id }),
    ...(eos !== undefined && { eosId: idOf(eos).id }),
    stopIds: new Set(),
    encode(text, { addSpecialTokens = false } = {}) {
      const ids: number[] = addSpecialTokens && addBos && bos !== undefined ? [idOf(bos).id] : [];
      for (let at = 0; at < text.length;) {
        const piece = byLength.find((one) => text.startsWith(one, at));
        if (piece === undefined) throw new Error(`no piece for ${JSON.stringify(text.slice(at))}`);
        ids.push(idOf(piece).id);
        at += piece.length;
      }
      return ids;
    },
    decode: (ids) => ids.map((id) => all[id]).join(""),
    renderChat: () => undefined,
  };
}
