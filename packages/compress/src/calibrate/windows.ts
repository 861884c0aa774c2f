/** Calibration windows: equal pieces of a tokenised text, drawn by seed. */
import { inputError } from "@subbit/core";
import type { TokenText } from "../options.js";
import { Random } from "../random.js";

/** Windows of equal length, one after another. */
export interface Windows {
  /** [count * seqlen] */
  readonly ids: Int32Array;
  readonly count: number;
  readonly seqlen: number;
}

export interface DrawOptions {
  readonly samples: number;
  readonly seqlen: number;
  readonly seed: number;
  /** Ids at or above it do not belong to this model. */
  readonly vocabSize: number;
}

/**
 * Cuts the text into windows without overlap (the rest is dropped) and draws `samples` of them without repetition; all
 * of them, shuffled, when the text has fewer. Throws `input` when it does not fill one window or an id is out of range.
 */
export function drawWindows(text: TokenText, options: DrawOptions): Windows {
  const { samples, seqlen, seed, vocabSize } = options;
  const available = Math.floor(text.ids.length / seqlen);
  if (available === 0) {
    throw inputError(
      `A calibration window has ${seqlen} tokens, but ${text.name} holds only ${text.ids.length}; ` +
        `give more text or a smaller --seqlen.`,
    );
  }
  const wrong = text.ids.find((id) => id < 0 || id >= vocabSize);
  if (wrong !== undefined) {
    throw inputError(
      `${text.name} holds the token id ${wrong}, but the model has ${vocabSize} tokens; use the model's own tokenizer.`,
    );
  }
  const order = new Random(seed).permutation(available).subarray(0, samples);
  const ids = new Int32Array(order.length * seqlen);
  order.forEach((window, i) =>
    ids.set(text.ids.subarray(window * seqlen, (window + 1) * seqlen), i * seqlen),
  );
  return { ids, count: order.length, seqlen };
}

/** The first windows of a text, in order. Throws `input` when it does not fill one. */
export function firstWindows(text: TokenText, seqlen: number, limit = Infinity): Windows {
  const count = Math.min(limit, Math.floor(text.ids.length / seqlen));
  if (count < 1) {
    throw inputError(
      `An evaluation window has ${seqlen} tokens, but ${text.name} holds only ${text.ids.length}.`,
    );
  }
  return { ids: text.ids.slice(0, count * seqlen), count, seqlen };
}

/** The ids of some windows, in the order asked. */
export function gatherWindows(windows: Windows, which: ArrayLike<number>): Int32Array {
  const { ids, seqlen } = windows;
  const gathered = new Int32Array(which.length * seqlen);
  for (let i = 0; i < which.length; i++) {
    gathered.set(ids.subarray(which[i] * seqlen, (which[i] + 1) * seqlen), i * seqlen);
  }
  return gathered;
}
