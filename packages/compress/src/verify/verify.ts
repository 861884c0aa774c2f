/** The packed folder as users run it against the engine's plain reading of the same bytes. */
import { type Model, openModel, SubbitError } from "@subbit/core";
import { openCheckpointAt } from "@subbit/core/node";
import { type CompileOptions, modelForward } from "@subbit/engine";

export interface Verification {
  /** Largest difference of any logit. */
  readonly maxAbsDifference: number;
  readonly tokens: number;
}

/**
 * Share of the largest logit by which runtime and engine may differ: the runtime's kernels round activations on
 * purpose, which costs a few thousandths; a wrong bit order or a lost scale costs the whole.
 */
const GROSS = 0.1;

/** Opens the folder that was just written. The caller closes the model. */
export async function openPacked(folder: string): Promise<Model> {
  return openModel(await openCheckpointAt(folder));
}

/** Compares logits of `ids`; throws `internal` for a gross mismatch. */
export async function verifyPacked(
  folder: string,
  ids: Int32Array,
  runtimeLogits: (dir: string, ids: Int32Array) => Promise<Float32Array>,
  compile: CompileOptions,
): Promise<Verification> {
  const model = await openPacked(folder);
  let engine: Float32Array;
  try {
    engine = (await modelForward(model, [...ids], compile)).logits;
  } finally {
    await model.close();
  }
  const runtime = await runtimeLogits(folder, ids);
  if (runtime.length !== engine.length) {
    throw new SubbitError(
      "internal",
      `The runtime gave ${runtime.length} logits where ${engine.length} were due.`,
    );
  }
  let largest = 0;
  let maxAbsDifference = 0;
  for (let i = 0; i < engine.length; i++) {
    largest = Math.max(largest, Math.abs(engine[i]));
    const difference = Math.abs(engine[i] - runtime[i]);
    // Written so that NaN counts as a mismatch.
    if (!(difference <= maxAbsDifference)) maxAbsDifference = difference;
  }
  if (!(maxAbsDifference <= GROSS * largest)) {
    throw new SubbitError(
      "internal",
      `The runtime's logits of the packed file differ from the engine's by ${maxAbsDifference} (largest logit ${largest}); please report this.`,
    );
  }
  return { maxAbsDifference, tokens: ids.length };
}
