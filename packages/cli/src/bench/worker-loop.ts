/** The process that holds one model: takes orders, measures, answers. Between orders it is idle. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { SubbitError } from "@subbit/core";
import { watchOthers } from "./others.js";
import {
  benchIds,
  type Answer,
  type Idle,
  type Memory,
  type Opened,
  type OpenOrder,
  type Order,
  type Round,
  type RoundOrder,
} from "./protocol.js";

/** A loaded model. Its context keeps what was computed until `clear`. */
export interface Engine {
  readonly opened: Opened;
  /** Forgets the context. */
  clear(): Promise<void>;
  /** Computes the prompt from a clear context, up to the logits after its last token. */
  prefill(ids: readonly number[]): Promise<void>;
  /** Brings the context to all but the last of `ids`; what it holds of them already is kept. */
  rewind(ids: readonly number[]): Promise<void>;
  /** Greedy: the last of `ids` and `count - 1` more are computed, one after the other. */
  decode(ids: readonly number[], count: number): Promise<void>;
  /** Milliseconds that opening the tokenizer takes, where that is a matter of its own. */
  tokenizerMs(): Promise<number | undefined>;
}

/** One turn of the warm-up: compilers replace code after some calls. */
const WARM_UP = { prompt: 64, tokens: 16 };

/** How long after an answer a process may still tidy up. */
const SETTLE_MS = 100;

/** How often a disturbed figure is measured again, and how long the others are given to finish. */
const QUIET = { tries: 4, pauseMs: 150 };

export function serve(open: (order: OpenOrder) => Promise<Engine>): void {
  let engine: Engine | undefined;
  let vocabSize = 0;
  const current = (): Engine => {
    if (engine === undefined) throw new SubbitError("internal", "A model was measured before it was opened.");
    return engine;
  };
  const handle = async (order: Order): Promise<Answer> => {
    if (order.kind === "open") {
      vocabSize = order.vocabSize;
      engine = await open(order);
      return { kind: "opened", opened: engine.opened };
    }
    if (order.kind === "tokenizer") return { kind: "tokenizer", ms: await current().tokenizerMs() };
    if (order.kind === "rest") return { kind: "rest", idle: await rest(order.ms) };
    return { kind: "round", round: await measure(current(), order, vocabSize) };
  };
  process.on("message", (order: Order) => {
    handle(order)
      .catch((error: unknown): Answer => failure(error))
      .then((answer) => process.send?.(answer))
      .catch(() => process.exit(1));
  });
  // The bench ends its children; a Ctrl-C, which a terminal sends to all of them, is for the bench to answer.
  process.on("SIGINT", () => undefined);
  process.on("disconnect", () => process.exit(0));
}

/** What the process takes while nobody asks anything of it. */
async function rest(ms: number): Promise<Idle> {
  // Threads that still look for work for a moment belong to the answer.
  await sleep(SETTLE_MS);
  const [begin, cpu] = [performance.now(), process.cpuUsage()];
  await sleep(ms);
  const { user, system } = process.cpuUsage(cpu);
  return { cpuMs: (user + system) / 1000, wallMs: performance.now() - begin };
}

let warm = false;

async function measure(engine: Engine, order: RoundOrder, vocabSize: number): Promise<Round> {
  const { prefill, contexts, decodeTokens, warmUpMs } = order;
  const ids = benchIds(Math.max(...prefill, ...contexts, WARM_UP.prompt), vocabSize);
  if (!warm) {
    const prompt = ids.slice(0, Math.min(WARM_UP.prompt, Math.max(...prefill, ...contexts)));
    const end = performance.now() + warmUpMs;
    do {
      await engine.clear();
      await engine.prefill(prompt);
      await engine.decode(prompt, Math.min(WARM_UP.tokens, decodeTokens));
    } while (performance.now() < end);
    warm = true;
  }
  const round = { prefill: {} as Record<number, number>, decode: {} as Record<number, number> };
  let others: number | undefined;
  const keep = ({ tokensPerSecond, busy }: Sample): number => {
    if (busy !== undefined) others = Math.max(others ?? 0, busy);
    return tokensPerSecond;
  };
  for (const length of prefill) {
    const prompt = ids.slice(0, length);
    round.prefill[length] = keep(
      await sample(
        order,
        length,
        () => engine.clear(),
        () => engine.prefill(prompt),
      ),
    );
  }
  for (const context of contexts) {
    const prompt = ids.slice(0, context);
    round.decode[context] = keep(
      await sample(
        order,
        decodeTokens,
        () => engine.rewind(prompt),
        () => engine.decode(prompt, decodeTokens),
      ),
    );
  }
  return { ...round, ...(others !== undefined && { othersCores: others }), ...memory() };
}

interface Sample {
  readonly tokensPerSecond: number;
  /** Cores that other programs kept busy meanwhile. */
  readonly busy: number | undefined;
}

/** One figure; where others disturb it, the least disturbed of several tries. */
async function sample(
  { quietCores }: RoundOrder,
  tokens: number,
  prepare: () => Promise<void>,
  work: () => Promise<void>,
): Promise<Sample> {
  let best: Sample | undefined;
  for (let tries = 0; tries < (quietCores === undefined ? 1 : QUIET.tries); tries++) {
    if (tries > 0) await sleep(QUIET.pauseMs);
    await prepare();
    const others = watchOthers();
    const begin = performance.now();
    await work();
    const tokensPerSecond = (tokens * 1000) / (performance.now() - begin);
    const busy = others();
    if (best === undefined || (busy ?? 0) < (best.busy ?? 0)) best = { tokensPerSecond, busy };
    if (busy === undefined || busy <= (quietCores ?? 0)) break;
  }
  // The loop runs at least once.
  return best!;
}

function memory(): Memory {
  return { rssBytes: process.memoryUsage.rss(), peakRssBytes: peakRss() };
}

/** A child's `maxRSS` counts what its parent had when it was made; Linux knows the memory's own peak. */
function peakRss(): number {
  try {
    const kilobytes = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    if (kilobytes !== undefined) return Number(kilobytes) * 1024;
  } catch {
    // Not Linux.
  }
  return process.resourceUsage().maxRSS * 1024;
}

function failure(error: unknown): Answer {
  if (error instanceof SubbitError) return { kind: "error", code: error.code, message: error.message };
  const message = error instanceof Error ? error.message : String(error);
  return { kind: "error", code: "internal", message };
}
