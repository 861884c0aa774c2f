// Operands of an instruction, and the share of a thread.
import { CTRL_SCRATCH, CTRL_SCRATCH_STRIDE, CTRL_TOKENS } from "../src/abi";

/** Unsigned: addresses go up to 4 GiB. */
// @ts-ignore: decorator
@inline
export function word(pc: usize, index: i32): usize {
  return load<usize>(pc + (<usize>index << 2));
}

// @ts-ignore: decorator
@inline
export function number(pc: usize, index: i32): i32 {
  return load<i32>(pc + (<usize>index << 2));
}

// @ts-ignore: decorator
@inline
export function real(pc: usize, index: i32): f32 {
  return load<f32>(pc + (<usize>index << 2));
}

// @ts-ignore: decorator
@inline
export function tokens(): i32 {
  return load<i32>(CTRL_TOKENS);
}

// @ts-ignore: decorator
@inline
export function scratch(thread: i32): usize {
  return load<usize>(CTRL_SCRATCH) + <usize>thread * load<usize>(CTRL_SCRATCH_STRIDE);
}

/** First of `units` that belongs to `thread` when they are cut into contiguous shares. */
// @ts-ignore: decorator
@inline
export function shareStart(units: i32, thread: i32, threads: i32): i32 {
  return <i32>((<i64>units * thread) / threads);
}
