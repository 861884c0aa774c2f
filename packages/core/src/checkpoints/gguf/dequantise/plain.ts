/** F32, F16 and BF16 tensors of a GGUF file, and integers: the same as in safetensors. */
import { plainToF32, type PlainDtype } from "../../dtypes.js";
import type { Dequantise } from "./types.js";

export function plain(dtype: PlainDtype): Dequantise {
  return (bytes, out) => {
    out.set(plainToF32(dtype, bytes, "the tensor"));
  };
}
