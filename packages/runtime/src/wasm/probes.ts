/** Which WebAssembly features this engine has, found by validating tiny modules. */

/** (module (func (result v128) i32.const 0 i8x16.splat)) */
const SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
];

/** (module (func (result v128) i32.const 0 i8x16.splat i32.const 0 i8x16.splat i8x16.relaxed_swizzle)) */
const RELAXED_SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 0, 253, 15, 65, 0,
  253, 15, 253, 128, 2, 11,
];

/** (module (memory 1 1 shared) (func i32.const 0 i32.const 0 i32.atomic.store)) */
const THREADS = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 5, 4, 1, 3, 1, 1, 10, 12, 1, 10, 0, 65, 0, 65,
  0, 254, 23, 2, 0, 11,
];

export interface WasmFeatures {
  readonly simd: boolean;
  readonly relaxedSimd: boolean;
  /** Shared memory may be made here: in a browser only on a cross-origin isolated page. */
  readonly threads: boolean;
}

/** True on Node, where `process` names its version. */
export function isNode(): boolean {
  return typeof process !== "undefined" && typeof process.versions?.node === "string";
}

export async function probeWasm(): Promise<WasmFeatures> {
  if (typeof WebAssembly === "undefined") return { simd: false, relaxedSimd: false, threads: false };
  const validate = (bytes: number[]): boolean => WebAssembly.validate(new Uint8Array(bytes));
  if (isNode() && !validate(RELAXED_SIMD)) {
    const { enableRelaxedSimd } = await import("../node/engine-flags.js");
    enableRelaxedSimd();
  }
  return {
    simd: validate(SIMD),
    relaxedSimd: validate(RELAXED_SIMD),
    threads: validate(THREADS) && canShare(),
  };
}

function canShare(): boolean {
  if (typeof SharedArrayBuffer === "undefined") return false;
  try {
    return (
      new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer instanceof SharedArrayBuffer
    );
  } catch {
    return false;
  }
}
