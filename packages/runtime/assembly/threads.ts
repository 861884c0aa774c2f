// Barriers and the command loop. Threads spin for a while, because the next instruction is usually that close,
// and sleep on the address after that, so that an idle model costs nothing.
//
// A dispatch may use fewer threads than there are. Every serving thread has a mailbox of its own, and only the threads that take
// part get a command:
// - A thread that takes no part is not woken and reads nothing, so it cannot run a program that is not its own, however late it
//   falls asleep or wakes.
// - One that takes part reads the program's bounds and the number of threads after it saw its command. They were stored before
//   it, and are stored again only for the next dispatch, which begins after the last barrier of this one, to which this thread
//   must come first. The same holds for the command: it cannot change twice unseen.
// - Nobody misses a command: the thread says that it sleeps before it looks at the command for the last time, thread 0 writes the
//   command before it looks whether the thread sleeps, and all of these are sequentially consistent, so one of the two sees the
//   other. A thread that says so and was overtaken is notified in vain, and its wait compares the word again.
// - Leaving a barrier late is harmless: the generation moved on and never returns to the value that is waited for (it would take
//   2^32 barriers, and the next one in which this thread takes part does not end without it).
import {
  BOX_ASLEEP,
  BOX_COMMAND,
  BOX_QUIT,
  CTRL_BARRIER_COUNT,
  CTRL_BARRIER_GENERATION,
  CTRL_MAILBOXES,
  CTRL_PROGRAM_END,
  CTRL_PROGRAM_START,
  CTRL_SLEEPERS,
  CTRL_THREADS,
  MAILBOX_BYTES,
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
      if (spin(CTRL_BARRIER_GENERATION, generation)) return;
      atomic.add<i32>(CTRL_SLEEPERS, 1);
      while (atomic.load<i32>(CTRL_BARRIER_GENERATION) == generation) sleep(CTRL_BARRIER_GENERATION, generation);
      atomic.sub<i32>(CTRL_SLEEPERS, 1);
    }
  }
}

/** Whether the word at `address` stopped being `value` before long. */
function spin(address: usize, value: i32): bool {
  if (ASC_FEATURE_THREADS) {
    for (let i = 0; i < SPINS; i++) {
      if (atomic.load<i32>(address) != value) return true;
    }
  }
  return false;
}

/** Thread 0: runs the instructions in [start, end) together with the serving threads; returns when all are done. */
export function dispatch(start: usize, end: usize): void {
  const threads = load<i32>(CTRL_THREADS);
  if (ASC_FEATURE_THREADS) {
    store<usize>(CTRL_PROGRAM_START, start);
    store<usize>(CTRL_PROGRAM_END, end);
    for (let thread = 1; thread < threads; thread++) {
      const box: usize = CTRL_MAILBOXES + <usize>thread * MAILBOX_BYTES;
      atomic.add<i32>(box + BOX_COMMAND, 1);
      if (atomic.load<i32>(box + BOX_ASLEEP) != 0) atomic.notify(box + BOX_COMMAND, 1);
    }
  }
  runProgram(start, end, 0, threads);
  barrier(threads);
}

/** Threads 1 and up: run what thread 0 dispatches until told to quit. */
export function serve(thread: i32): void {
  if (ASC_FEATURE_THREADS) {
    const box: usize = CTRL_MAILBOXES + <usize>thread * MAILBOX_BYTES;
    let seen = 0;
    while (true) {
      if (!spin(box + BOX_COMMAND, seen)) {
        atomic.store<i32>(box + BOX_ASLEEP, 1);
        while (atomic.load<i32>(box + BOX_COMMAND) == seen) sleep(box + BOX_COMMAND, seen);
        atomic.store<i32>(box + BOX_ASLEEP, 0);
      }
      seen++;
      if (atomic.load<i32>(box + BOX_QUIT) != 0) return;
      const threads = load<i32>(CTRL_THREADS);
      runProgram(load<usize>(CTRL_PROGRAM_START), load<usize>(CTRL_PROGRAM_END), thread, threads);
      barrier(threads);
    }
  }
}
