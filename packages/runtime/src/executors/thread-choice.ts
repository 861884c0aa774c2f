/** How many threads serve a model best is measured when it is loaded, and remembered. */
import { throwIfAborted, type Model } from "@subbit/core";
import { kernelsHash } from "../generated/kernels.js";
import { isNode } from "../wasm/probes.js";
import type { Team, ThreadChoice } from "./types.js";

/** Numbers that are tried, up to the processors there are. */
const CANDIDATES = [1, 2, 3, 4, 6, 8];
const MIN_ROUNDS = 2;
const MAX_ROUNDS = 8;
/** No further round begins after this. */
const BUDGET_MS = 40;
/** A thread more must gain so much. */
const GAIN = 0.95;

/**
 * Runs `probe` with different numbers of threads in turn, so that a busy moment does not hit one of them alone, and settles on the
 * smallest that is nearly the best; the other threads end.
 */
export async function measureThreads(
  team: Team,
  probe: () => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<ThreadChoice> {
  await team.ready();
  const counts = CANDIDATES.filter((count) => count <= team.size);
  const best = new Map(counts.map((count) => [count, Infinity]));
  // The first run compiles and touches memory.
  await probe();
  const began = performance.now();
  for (let round = 0; round < MAX_ROUNDS; round++) {
    if (round >= MIN_ROUNDS && performance.now() - began > BUDGET_MS) break;
    for (const count of counts) {
      throwIfAborted(signal);
      team.use(count);
      const start = performance.now();
      await probe();
      best.set(count, Math.min(best.get(count)!, performance.now() - start));
    }
  }
  let threads = 1;
  for (const count of counts) if (best.get(count)! < GAIN * best.get(threads)!) threads = count;
  await team.trim(threads);
  team.use(threads);
  return { threads, milliseconds: Object.fromEntries(best) };
}

const inProcess = new Map<string, ThreadChoice>();

/** The earlier choice for models of this shape on this machine. */
export async function recallThreads(key: string): Promise<ThreadChoice | undefined> {
  const known = inProcess.get(key);
  if (known !== undefined || !isNode()) return known;
  const { readThreadChoice } = await import("../node/thread-cache.js");
  const found = await readThreadChoice(key);
  if (found !== undefined) inProcess.set(key, found);
  return found;
}

/** Never fails: what cannot be written is measured again. */
export async function rememberThreads(key: string, choice: ThreadChoice): Promise<void> {
  inProcess.set(key, choice);
  if (!isNode()) return;
  const { writeThreadChoice } = await import("../node/thread-cache.js");
  await writeThreadChoice(key, choice);
}

/** Names what the choice depends on, apart from the machine: the kernels and the model's shape. */
export function threadChoiceKey(model: Model, weightBytes: number, simd: string, most: number): string {
  const { hiddenSize, layers, vocabSize, attention, mlp } = model.spec;
  const shape = [hiddenSize, layers, vocabSize, attention.heads, attention.kvHeads, mlp.intermediateSize];
  return [kernelsHash, simd, `up to ${most}`, shape.join("x"), weightBytes].join(" ");
}

/** In words, for the capabilities. */
export function describeChoice({ threads, milliseconds }: ThreadChoice, when: string): string {
  const figures = Object.entries(milliseconds).map(([count, ms]) => `${count}: ${ms.toFixed(2)} ms`);
  return `${threads} thread${threads === 1 ? "" : "s"} measured best ${when} (${figures.join(", ")})`;
}
