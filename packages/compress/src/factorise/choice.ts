/** From options to what will be done: a start that the method knows, ranks that fit the budget, counts that make sense. */
import {
  type BudgetShape,
  inputError,
  rankForBits,
  type ScaleBits,
  smallestBpw,
  SubbitError,
  wordsPerRow,
} from "@subbit/core";
import type { Init } from "../choices.js";
import type { FactoredMethod, FullStart, IterationCounts, Method, PathStart } from "./methods/method.js";
import { METHODS } from "./methods/registry.js";
import type { FactoriseMethod, FactoriseOptions, Schedule } from "./types.js";

/** How a method stores a linear and how it can start: what the planning of ranks needs to know. */
export interface MethodForm {
  readonly kind: "factored" | "onebit";
  /** Whether each path stores a middle scale. */
  readonly midScale: boolean;
  /** By default. */
  readonly paths: number;
  /** l by default. */
  readonly envelope: number;
  /** Whether l may be chosen. */
  readonly envelopes: boolean;
  /** The first is the default. */
  readonly inits: readonly Init[];
  /** Whether a rank above min(rows, cols) means anything to the start. */
  readonly overcomplete: boolean;
}

/**
 * The form of a method with a start (its own by default). Throws `usage` for a name that is no method or no start of it.
 */
export function methodForm(method: FactoriseMethod, init?: Init): MethodForm {
  const found = methodOf(method);
  const inits = Object.keys(found.inits) as Init[];
  if (found.kind === "onebit") {
    startOf(method, found.inits, init);
    return {
      kind: "onebit",
      midScale: false,
      paths: 1,
      envelope: 1,
      envelopes: false,
      inits,
      overcomplete: false,
    };
  }
  const { kind, midScale, paths, envelope, envelopes } = found;
  const { overcomplete } = startOf(method, found.inits, init);
  return { kind, midScale, paths, envelope, envelopes, inits, overcomplete };
}

export interface FactoredChoice {
  readonly kind: "factored";
  readonly start: PathStart;
  readonly midScale: boolean;
  /** One a path. */
  readonly ranks: readonly number[];
  /** l */
  readonly envelope: number;
  readonly schedule: Schedule;
  readonly iterations: number;
  readonly refineSteps: number;
  readonly scaleBits: ScaleBits;
}

export interface OneBitChoice {
  readonly kind: "onebit";
  readonly start: FullStart;
  readonly iterations: number;
  readonly scaleBits: ScaleBits;
}

/** Throws `usage` for options that contradict each other or the method, `input` for a budget that is too small. */
export function choose(rows: number, cols: number, options: FactoriseOptions): FactoredChoice | OneBitChoice {
  const name = options.method ?? "auto";
  const method = methodOf(name);
  const { schedule = "tuned", refineSteps = 0 } = options;
  const scaleBits = options.scaleBits ?? (method.kind === "factored" ? method.scaleBits : undefined) ?? 16;
  if (scaleBits !== 16 && scaleBits !== 8) {
    throw usage(`Scales of ${String(scaleBits)} bits were asked for; give 16 or 8.`);
  }
  if (schedule !== "tuned" && schedule !== "official") {
    throw usage(`The schedule ${String(schedule)} does not exist; choose tuned or official.`);
  }
  if (method.kind === "onebit") {
    refuseForOneBit(rows, cols, scaleBits, options);
    const start = startOf(name, method.inits, options.init);
    return { kind: "onebit", start, scaleBits, iterations: iterationsOf(start, schedule, options) };
  }
  if (!(Number.isInteger(refineSteps) && refineSteps >= 0)) {
    throw usage(`${refineSteps} steps of refinement were asked for; give a whole number from 0.`);
  }
  const start = startOf(name, method.inits, options.init);
  const envelope = envelopeOf(name, method, options.envelope);
  return {
    kind: "factored",
    start,
    midScale: method.midScale,
    ranks: ranksOf(method, start, { rows, cols, envelope, scaleBits }, options),
    envelope,
    schedule,
    iterations: iterationsOf(start, schedule, options),
    refineSteps,
    scaleBits,
  };
}

function usage(message: string): SubbitError {
  return new SubbitError("usage", message);
}

function methodOf(name: FactoriseMethod): Method {
  const method = (METHODS as Partial<Record<string, Method>>)[name];
  if (method && Object.hasOwn(METHODS, name)) return method;
  throw usage(
    `The factorisation method ${name} does not exist; choose one of ${listed(Object.keys(METHODS), "or")}.`,
  );
}

function startOf<S>(name: string, starts: Readonly<Partial<Record<Init, S>>>, init: Init | undefined): S {
  const known = Object.keys(starts) as Init[];
  const start = Object.hasOwn(starts, init ?? known[0]) ? starts[init ?? known[0]] : undefined;
  if (start) return start;
  throw usage(`Method ${name} does not start by ${init}; it knows ${listed(known, "and")}.`);
}

function envelopeOf(name: string, method: FactoredMethod, asked: number | undefined): number {
  const envelope = positive("envelope", asked ?? method.envelope);
  if (envelope === 1 || method.envelopes) return envelope;
  const able = Object.entries<Method>(METHODS).filter(([, m]) => m.kind === "factored" && m.envelopes);
  throw usage(
    `Method ${name} has envelopes of rank 1, not ${envelope}; ` +
      `leave the envelope out or use ${listed(
        able.map(([other]) => other),
        "or",
      )}.`,
  );
}

function refuseForOneBit(rows: number, cols: number, scaleBits: ScaleBits, options: FactoriseOptions): void {
  const { rank, ranks, paths = 1, envelope = 1, refineSteps = 0, bpw } = options;
  if (rank !== undefined || ranks !== undefined || paths !== 1 || envelope !== 1 || refineSteps !== 0) {
    throw usage(
      "Method onebit stores one sign for every weight and two vectors of scales; leave out rank, paths, envelope and refinement.",
    );
  }
  const bases = scaleBits === 8 ? 2 * 16 : 0;
  const bits = rows * 32 * wordsPerRow(cols) + scaleBits * (rows + cols) + bases;
  if (bpw !== undefined && bits > bpw * rows * cols * (1 + 1e-12)) {
    throw inputError(
      `${bpw} bits per weight were asked for, but onebit takes ${(bits / (rows * cols)).toFixed(4)} for a ` +
        `${rows} x ${cols} matrix; ask for that or use another method.`,
    );
  }
}

function ranksOf(
  method: FactoredMethod,
  start: PathStart,
  form: Required<Pick<BudgetShape, "rows" | "cols" | "envelope" | "scaleBits">>,
  { rank, ranks, bpw, paths }: FactoriseOptions,
): number[] {
  if ([rank, ranks, bpw].filter((given) => given !== undefined).length !== 1) {
    throw usage("Give a factorisation one of a rank, ranks by path, and bits per weight.");
  }
  const { rows, cols } = form;
  const count = positive("number of paths", paths ?? ranks?.length ?? method.paths);
  if (ranks && ranks.length !== count) {
    throw usage(`${ranks.length} ranks were given for ${count} paths; give one each.`);
  }
  const budget = { ...form, paths: count, midScale: method.midScale };
  const each =
    ranks?.map((value) => positive("rank", value)) ??
    Array.from({ length: count }, () =>
      bpw === undefined ? positive("rank", rank) : rankForBits({ ...budget, bpw }),
    );
  if (!each.every((value) => value >= 1)) {
    throw inputError(
      `${bpw} bits per weight were asked for, but a ${rows} x ${cols} matrix needs at least ` +
        `${smallestBpw(budget).toFixed(4)} in this form; ask for more.`,
    );
  }
  return each.map((value) => (start.overcomplete ? value : Math.min(value, rows, cols)));
}

function iterationsOf(
  start: { readonly iterations: IterationCounts },
  schedule: Schedule,
  { iterations }: FactoriseOptions,
): number {
  return positive("number of iterations", iterations ?? start.iterations[schedule]);
}

function positive(name: string, value: number | undefined): number {
  if (value === undefined || !Number.isInteger(value) || value < 1) {
    throw usage(`The ${name} of a factorisation is ${value}; give a whole number of at least 1.`);
  }
  return value;
}

/** "a, b and c" */
function listed(names: readonly string[], word: "and" | "or"): string {
  if (names.length < 2) return names.join("");
  return `${names.slice(0, -1).join(", ")} ${word} ${names.at(-1)}`;
}
