// Barriers and the command loop. Threads spin for a while, because the next instruction is usually that close,
// and sleep on the address after that, so that an idle model costs nothing.
import {
  CTRL_BARRIER_COUNT,
  CTRL_BARRIER_GENERATION,
  CTRL_COMMAND,
  CTRL_PROGRAM_END,
  CTRL_PROGRAM_START,
  CTRL_QUIT,
  CTRL_SLEEPERS,
  CTRL_THREADS,
} from "../src/abi";
import { runProgram } from "./interpreter";

/**
 * A few hundred microseconds: longer than any instruction of a small model keeps a thread waiting. With waits of some
 * microseconds threads slept between instructions, and two were seven times slower than one.
 */
const SPINS: i32 = 200000;

/**
 * Atomics.wait on the word at `address`, by the host: V8's baseline compiler (seen in Node 20) loses local variables across the
 * wait instruction.
 */
// @ts-ignore: decorator
@external("env", "sleep")
declare function sleep(address: usize, value: i32): void;

/** Nobody leaves before all `threads` have come. Between two barriers any thread may be anywhere. */
export function barrier(threads: i32): void {
  if (threads == 1) return;
  if (ASC_FEATURE_THREADS) {
    const generation = atomic.load<i32>(CTRL_BARRIER_GENERATION);
    if (atomic.add<i32>(CTRL_BARRIER_COUNT, 1) == threads - 1) {
      atomic.store<i32>(CTRL_BARRIER_COUNT, 0);
      atomic.store<i32>(CTRL_BARRIER_GENERATION, generation + 1);
      // A thread counts itself a sleeper before it looks at the generation again, so no sleeper is missed.
      if (atomic.load<i32>(CTRL_SLEEPERS) != 0) atomic.notify(CTRL_BARRIER_GENERATION, threads);
    } else {
      wait(CTRL_BARRIER_GENERATION, generation);
    }
  }
}

/** Returns when the word at `address` is no longer `value`. */
function wait(address: usize, value: i32): void {
  if (ASC_FEATURE_THREADS) {
    for (let i = 0; i < SPINS; i++) {
      if (atomic.load<i32>(address) != value) return;
    }
    atomic.add<i32>(CTRL_SLEEPERS, 1);
    while (atomic.load<i32>(address) == value) sleep(address, value);
    atomic.sub<i32>(CTRL_SLEEPERS, 1);
  }
}

/** Thread 0: runs the instructions in [start, end) together with the serving threads; returns when all are done. */
export function dispatch(start: usize, end: usize): void {
  const threads = load<i32>(CTRL_THREADS);
  if (ASC_FEATURE_THREADS) {
    if (threads > 1) {
      store<usize>(CTRL_PROGRAM_START, start);
      store<usize>(CTRL_PROGRAM_END, end);
      atomic.add<i32>(CTRL_COMMAND, 1);
      atomic.notify(CTRL_COMMAND, threads);
    }
  }
  runProgram(start, end, 0, threads);
  barrier(threads);
}

/** Threads 1 and up: run what thread 0 dispatches until told to quit. */
export function serve(thread: i32): void {
  if (ASC_FEATURE_THREADS) {
    let seen = 0;
    while (true) {
      wait(CTRL_COMMAND, seen);
      seen++;
      if (atomic.load<i32>(CTRL_QUIT) != 0) return;
      const threads = load<i32>(CTRL_THREADS);
      runProgram(load<usize>(CTRL_PROGRAM_START), load<usize>(CTRL_PROGRAM_END), thread, threads);
      barrier(threads);
    }
  }
}
