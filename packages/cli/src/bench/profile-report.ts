/** Where the time of one token goes, measured and for a terminal. */
import { loadModel, PROFILE_WARM_UP, type KvBits, type TokenProfile } from "@subbit/runtime";
import { VectorBound } from "@subbit/runtime/bench";
import type { Context } from "../context.js";
import { withModel } from "../open-source.js";
import { toPrecision } from "../output/format.js";
import { renderTable } from "../output/table.js";

export interface ProfileOptions {
  /** Tokens before the one that is profiled. */
  readonly context: number;
  readonly signBits: 8 | 12 | 16;
  /** @default the runtime's own choice */
  readonly kvBits?: KvBits | undefined;
}

export interface ProfileReport extends TokenProfile {
  readonly context: number;
  /** Billions of sign additions a second that one thread's vector arithmetic allows, tables in registers. */
  readonly bound: number;
}

const BOUND_RUNS = 9;

/** On one thread: then instructions do not wait for one another. */
export async function profileModel(
  context: Context,
  source: string,
  options: ProfileOptions,
): Promise<ProfileReport> {
  const { signBits, kvBits } = options;
  return withModel(context, source, async (model) => {
    const runtime = await loadModel(model, undefined, {
      threads: 1,
      signBits,
      kvBits,
      signal: context.signal,
    });
    const bound = await VectorBound.create(1, "arithmetic");
    try {
      const ids = Array.from(
        { length: Math.max(1, options.context - PROFILE_WARM_UP) },
        (_, i) => (i * 7919) % runtime.vocabSize,
      );
      const profile = await runtime.profile(ids);
      let best = 0;
      for (let i = 0; i < BOUND_RUNS; i++) best = Math.max(best, await bound.run());
      return { ...profile, context: options.context, bound: best };
    } finally {
      await bound.dispose();
      await runtime.dispose();
    }
  });
}

export function renderProfile({ rows, microseconds, context, bound }: ProfileReport): string {
  const rate = (amount: number, us: number): string =>
    amount === 0 ? "" : toPrecision(amount / us / 1000, 3);
  return renderTable(
    [
      { title: `one token after ${context}, 1 thread` },
      { title: "times", align: "right" },
      { title: "us", align: "right" },
      { title: "%", align: "right" },
      { title: "Gsigns/s", align: "right" },
      { title: "of bound", align: "right" },
      { title: "weights GB/s", align: "right" },
    ],
    [
      ...rows.map(({ instruction, count, microseconds: us, signs, bytes }) => [
        instruction,
        String(count),
        us.toFixed(1),
        ((100 * us) / microseconds).toFixed(1),
        rate(signs, us),
        signs === 0 ? "" : `${((signs / us / 1000 / bound) * 100).toFixed(0)} %`,
        rate(bytes, us),
      ]),
      ["all", "", microseconds.toFixed(1), "100", "", "", ""],
      ["bound: vector arithmetic alone", "", "", "", toPrecision(bound, 3), "", ""],
    ],
  );
}
