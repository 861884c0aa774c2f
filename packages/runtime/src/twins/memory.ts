/** Typed views of the one memory, and the operands of an instruction: what every twin works on. */

export interface MemoryViews {
  /** Whether multiply-adds round once, as with relaxed SIMD on most processors. */
  readonly fused: boolean;
  readonly f32: Float32Array;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly u16: Uint16Array;
  readonly u8: Uint8Array;
  readonly i8: Int8Array;
}

export function viewMemory(buffer: ArrayBufferLike, fused: boolean): MemoryViews {
  return {
    fused,
    f32: new Float32Array(buffer),
    i32: new Int32Array(buffer),
    u32: new Uint32Array(buffer),
    u16: new Uint16Array(buffer),
    u8: new Uint8Array(buffer),
    i8: new Int8Array(buffer),
  };
}

/** A kernel's plain TypeScript twin: does the whole instruction at byte address `pc`. */
export type Twin = (memory: MemoryViews, pc: number) => void;

/** Operand as an unsigned integer: a byte address, a stride or a count. */
export function word(m: MemoryViews, pc: number, index: number): number {
  return m.u32[(pc >>> 2) + index];
}

/** Operand that is a byte address of f32 values, as an index into `f32`. */
export function floats(m: MemoryViews, pc: number, index: number): number {
  return word(m, pc, index) >>> 2;
}

export function real(m: MemoryViews, pc: number, index: number): number {
  return m.f32[(pc >>> 2) + index];
}

export function control(m: MemoryViews, address: number): number {
  return m.u32[address >>> 2];
}
