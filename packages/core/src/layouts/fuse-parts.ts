/** Linears that dense checkpoints of a family store in one tensor (Phi's qkv_proj), joined as that family's readers expect. */
import { plainToF32 } from "../checkpoints/dtypes.js";
import type { TensorToWrite } from "../checkpoints/safetensors/encode.js";
import type { ModelSpec } from "../model/spec.js";
import { asBytes } from "../tensors/bytes.js";

/** The tensors with each group of parts in one, where its first part stood; others as they are. */
export function fuseParts(tensors: readonly TensorToWrite[], spec: ModelSpec): TensorToWrite[] {
  if (spec.names.fused === undefined) return [...tensors];
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const { name, parts } of spec.names.fused(layer)) {
      for (const suffix of ["weight", "bias"]) {
        const found = parts.map((part) => byName.get(`${part.name}.${suffix}`));
        const whole = found.filter((tensor) => tensor !== undefined);
        if (whole.length !== parts.length) continue;
        for (const { name: part } of whole.slice(1)) byName.delete(part);
        byName.set(whole[0].name, joined(`${name}.${suffix}`, whole));
      }
    }
  }
  return [...byName.values()];
}

/** Rows of all parts one after another, in F32 where their dtypes differ. */
function joined(name: string, parts: readonly TensorToWrite[]): TensorToWrite {
  const [{ dtype, shape }] = parts;
  const same = parts.every((part) => part.dtype === dtype);
  const rows = parts.reduce((sum, part) => sum + part.shape[0], 0);
  return {
    name,
    dtype: same ? dtype : "F32",
    shape: [rows, ...shape.slice(1)],
    data: async () => {
      const bytes: Uint8Array[] = [];
      for (const part of parts) {
        const own = typeof part.data === "function" ? await part.data() : part.data;
        bytes.push(same ? own : asBytes(plainToF32(part.dtype, own, part.name)));
      }
      const all = new Uint8Array(bytes.reduce((sum, { length }) => sum + length, 0));
      let at = 0;
      for (const one of bytes) {
        all.set(one, at);
        at += one.length;
      }
      return all;
    },
  };
}
