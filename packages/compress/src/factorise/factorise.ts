/** One matrix in one call. */
import { Factoriser, type FactoriserOptions } from "./factoriser.js";
import type { FactorisedLinear, FactoriseOptions } from "./types.js";

/** Factorises one matrix; for several of one shape, a `Factoriser` compiles once. */
export async function factorise(
  weight: Float32Array,
  rows: number,
  cols: number,
  options: FactoriseOptions & FactoriserOptions,
): Promise<FactorisedLinear> {
  const factoriser = new Factoriser(options.threads === undefined ? {} : { threads: options.threads });
  try {
    return await factoriser.factorise(weight, rows, cols, options);
  } finally {
    await factoriser.dispose();
  }
}
