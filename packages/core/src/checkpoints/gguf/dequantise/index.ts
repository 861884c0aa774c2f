/** The decoder of each stored type. */
import type { StoredDtype } from "../../types.js";
import { q2_K, q3_K, q4_K, q5_K, q6_K } from "./k-quants.js";
import { q4_0, q4_1, q5_0, q5_1, q8_0 } from "./legacy.js";
import { plain } from "./plain.js";
import type { Dequantise } from "./types.js";

export const DEQUANTISERS: Readonly<Record<StoredDtype, Dequantise>> = {
  F32: plain("F32"),
  F16: plain("F16"),
  BF16: plain("BF16"),
  I8: plain("I8"),
  U8: plain("U8"),
  I32: plain("I32"),
  I64: plain("I64"),
  Q8_0: q8_0,
  Q4_0: q4_0,
  Q4_1: q4_1,
  Q5_0: q5_0,
  Q5_1: q5_1,
  Q2_K: q2_K,
  Q3_K: q3_K,
  Q4_K: q4_K,
  Q5_K: q5_K,
  Q6_K: q6_K,
};
