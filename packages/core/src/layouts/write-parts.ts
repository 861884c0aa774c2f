/** Writing the parts of packed linears in official layouts. */
import { asBytes } from "../tensors/bytes.js";
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from "../tensors/half.js";
import { inputError, SubbitError } from "../errors.js";
import type { FactoredLinear, FactoredPath, SignMatrix } from "../linears/types.js";
import type { EncodedTensor, OfficialLayoutName, PackedLinear } from "./official-layout.js";

type FloatDtype = "F32" | "F16" | "BF16";

/** A tensor of scales in the layout's own dtype where that holds every value, else in the narrowest that does. */
export function scalesTensor(
  name: string,
  values: Float32Array,
  shape: readonly number[],
  own: FloatDtype,
): EncodedTensor {
  for (const dtype of [own, "BF16", "F16"] as const) {
    const bytes = exactBytes(values, dtype);
    if (bytes !== undefined) return { name, dtype, shape, data: bytes };
  }
  return { name, dtype: "F32", shape, data: asBytes(values) };
}

/** The values in that dtype; `undefined` where one would be rounded. */
export function exactBytes(values: Float32Array, dtype: FloatDtype): Uint8Array | undefined {
  if (dtype === "F32") return asBytes(values);
  const bits = dtype === "F16" ? f32ToF16(values) : f32ToBf16(values);
  const back = dtype === "F16" ? f16ToF32(bits) : bf16ToF32(bits);
  return values.every((value, i) => Object.is(value, back[i])) ? asBytes(bits) : undefined;
}

/** Whole numbers as a tensor of I64. */
export function integersTensor(
  name: string,
  values: readonly number[],
  shape: readonly number[],
): EncodedTensor {
  return { name, dtype: "I64", shape, data: asBytes(BigInt64Array.from(values, BigInt)) };
}

/** A tensor of signs, made from the linear when its turn comes. */
export function signsTensor(
  name: string,
  dtype: "I32" | "I8" | "U8",
  shape: readonly number[],
  encode: (signs: SignMatrix) => Uint8Array,
  pick: (linear: PackedLinear) => SignMatrix,
): EncodedTensor {
  return { name, dtype, shape, data: (linear) => encode(pick(linear)) };
}

/** The signs of one path, for `signsTensor`. */
export function pathSigns(
  index: number,
  which: "outSigns" | "inSigns",
): (linear: PackedLinear) => SignMatrix {
  return (linear) => {
    if (linear.kind !== "factored")
      throw new SubbitError("internal", "A linear changed its kind while it was written.");
    return linear.paths[index][which];
  };
}

/** Why a layout cannot hold something. */
export function refusal(layout: OfficialLayoutName, what: string, reason: string): Error {
  return inputError(`The ${layout} layout cannot hold ${what}: ${reason}; the subbit layout can.`);
}

/** The linear as a factored one with l = 1 and one path (or up to `paths`), or the reason why not. */
export function expectFactored(
  layout: OfficialLayoutName,
  name: string,
  linear: PackedLinear,
): FactoredLinear {
  if (linear.kind === "factored") return linear;
  throw refusal(layout, name, "the LayerNorm of a OneBit linear cannot be folded into scales");
}

/** The only path of a linear with an envelope of rank 1. */
export function expectOnePath(layout: OfficialLayoutName, name: string, linear: PackedLinear): FactoredPath {
  const { paths } = expectFactored(layout, name, linear);
  if (paths.length !== 1)
    throw refusal(
      layout,
      name,
      `it has ${paths.length} paths, whose outer scales differ, and the layout has one`,
    );
  expectPlainEnvelope(layout, name, paths[0]);
  return paths[0];
}

export function expectPlainEnvelope(
  layout: OfficialLayoutName,
  name: string,
  { envelope }: FactoredPath,
): void {
  if (envelope !== 1)
    throw refusal(layout, name, `its envelopes have rank ${envelope}, and the layout's have rank 1`);
}

/** The signs of a OneBit linear, for `signsTensor`. */
export function oneBitSigns(linear: PackedLinear): SignMatrix {
  if (linear.kind !== "onebit")
    throw new SubbitError("internal", "A linear changed its kind while it was written.");
  return linear.signs;
}

/** One number without a shape, in bfloat16 (rounded). */
export function scalarTensor(name: string, value: number): EncodedTensor {
  return { name, dtype: "BF16", shape: [], data: asBytes(f32ToBf16(Float32Array.of(value))) };
}
