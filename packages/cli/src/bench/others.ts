/** How much of the processor other programs took while something was measured: a figure means little without it. */
import { readFileSync } from "node:fs";

/** /proc/stat counts in these. */
const TICK_MS = 10;

interface Reading {
  readonly wallMs: number;
  /** undefined where the system does not tell. */
  readonly busyMs: number | undefined;
  readonly ownMs: number;
}

/** Starts watching; the result gives the cores that others kept busy since, or undefined where the system does not tell. */
export function watchOthers(): () => number | undefined {
  const begin = read();
  return () => {
    const end = read();
    if (begin.busyMs === undefined || end.busyMs === undefined) return undefined;
    const others = end.busyMs - begin.busyMs - (end.ownMs - begin.ownMs);
    return Math.max(0, others) / Math.max(TICK_MS, end.wallMs - begin.wallMs);
  };
}

function read(): Reading {
  const { user, system } = process.cpuUsage();
  return { wallMs: performance.now(), busyMs: busyMs(), ownMs: (user + system) / 1000 };
}

/** Time of all cores that was not idle: programs, interrupts, and what a host took from a virtual machine. */
function busyMs(): number | undefined {
  try {
    const line = /^cpu +(.*)$/m.exec(readFileSync("/proc/stat", "utf8"))?.[1];
    if (line === undefined) return undefined;
    // user nice system idle iowait irq softirq steal; guests are counted as users.
    const [user, nice, system, , , irq, softirq, steal] = line.split(" ").map(Number);
    return (user + nice + system + irq + softirq + steal) * TICK_MS;
  } catch {
    return undefined;
  }
}
