/**
 * Plans as files, to be edited by hand: one entry a linear. A file is checked against the model before anything else
 * happens; the sizes that it gives are the budget.
 */
import {
  inputError,
  linearSites,
  type LinearSite,
  type ModelSpec,
  type ScaleBits,
  SubbitError,
} from "@subbit/core";
import { z } from "zod";
import { type Init, type Method, METHOD_NAMES } from "../choices.js";
import { methodForm } from "../factorise/choice.js";
import type { FactoriseMethod } from "../factorise/types.js";
import {
  AUTO,
  checkedInit,
  checkForm,
  isOneBit,
  LARGEST_ENVELOPE,
  largestRank,
  type MethodShape,
} from "./methods.js";
import type { Plan, PlanRow } from "./plan.js";
import { denseRow, factoredRow, oneBitRow } from "./rows.js";

/** Raised when a file of an older program would mean something else. */
const PLAN_FILE_VERSION = 1;
/** Ranks beyond this many times the smaller dimension cost more than the dense linear at any sensible width. */
const LARGEST_RANK_FACTOR = 16;

const method = z.enum(METHOD_NAMES);
const rank = z.number().int().min(1);
const scaleBits = z.union([z.literal(32), z.literal(16), z.literal(8)]);
const dimension = z.number().int().min(1);

const denseEntry = z.strictObject({
  keep: z.literal("dense"),
  rows: dimension.optional(),
  cols: dimension.optional(),
});
const compressedEntry = z.strictObject({
  method: method.optional(),
  /** Of the linear, checked where it stands. */
  rows: dimension.optional(),
  cols: dimension.optional(),
  rank: rank.optional(),
  ranks: z.array(rank).min(1).max(8).optional(),
  paths: z.number().int().min(1).max(8).optional(),
  envelope: z.number().int().min(1).max(LARGEST_ENVELOPE).optional(),
  scaleBits: scaleBits.optional(),
});
const planFile = z.strictObject({
  subbitPlan: z.literal(PLAN_FILE_VERSION),
  /** Of the linears that do not say. */
  method,
  init: z.string().optional(),
  /** Present where the linears are found by what `auto` stands for, not as the method's paper does. */
  factoriser: z.literal(AUTO.factoriser).optional(),
  /** By linear name, as `inspect` shows it. */
  linears: z.record(z.string(), z.union([denseEntry, compressedEntry])),
});

export type PlanFile = z.infer<typeof planFile>;
type CompressedEntry = z.infer<typeof compressedEntry>;

/** Throws `input`, in one sentence, for text that is no plan. `name` is what messages call the file. */
export function parsePlanFile(text: string, name: string): PlanFile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw inputError(`${name} is not JSON; a plan is what --dry-run --plan-out writes.`);
  }
  const parsed = planFile.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue.path.length > 0 ? issue.path.map(String).join(" > ") : "the top level";
  throw inputError(
    `${name} is not a plan: at ${where} there is ${described(value, issue.path)}, ${lowered(issue.message)}; ` +
      `a plan is what --dry-run --plan-out writes.`,
  );
}

/** The plan as a file holds it; read again, it gives the same rows. */
export function planToFile(plan: Plan): PlanFile {
  const entryOf = (row: PlanRow): PlanFile["linears"][string] => {
    const { rows, cols, kind, ranks, paths, envelope, scaleBits: bits } = row;
    if (kind === "dense") return { keep: "dense", rows, cols };
    const own = row.method ?? plan.method;
    if (kind === "onebit") return { method: own, rows, cols, scaleBits: bits };
    const size = ranks ? { ranks: [...ranks] } : { rank: row.rank };
    return { method: own, rows, cols, ...size, paths, envelope, scaleBits: bits };
  };
  return {
    subbitPlan: PLAN_FILE_VERSION,
    method: plan.method,
    init: plan.init,
    ...(plan.factoriser !== plan.method && { factoriser: AUTO.factoriser }),
    linears: Object.fromEntries(plan.rows.map((row) => [row.name, entryOf(row)])),
  };
}

export interface RowsOfFile {
  readonly method: Method;
  readonly init: Init;
  readonly factoriser: FactoriseMethod;
  readonly rows: readonly PlanRow[];
}

/** Throws `input` for a file that does not fit the model, naming the first disagreement. */
export function rowsOfFile(spec: ModelSpec, file: PlanFile): RowsOfFile {
  const sites = linearSites(spec);
  const names = new Set(sites.map((site) => spec.names.linear(site)));
  const strange = Object.keys(file.linears).find((name) => !names.has(name));
  if (strange !== undefined) {
    throw inputError(
      `The plan has an entry ${strange.slice(0, 100)}, but the model has no such linear; ` +
        `it has ${spec.linears.length} in each of ${spec.layers} blocks, like ${spec.names.linear(sites[0])}.`,
    );
  }
  const init = inInput(() => checkedInit(file.method, file.init as Init | undefined));
  const rows = sites.map((site) => rowOfEntry(spec, site, file, init));
  if (rows.every((row) => row.kind === "dense")) {
    throw inputError("The plan keeps every linear dense; give at least one of them a rank.");
  }
  if (file.factoriser !== undefined && file.method !== AUTO.method) {
    throw inputError(
      `The plan asks for ${file.method} to be found by ${file.factoriser}, which gives ${AUTO.method}; leave "factoriser" out.`,
    );
  }
  return { method: file.method, init, factoriser: file.factoriser ?? file.method, rows };
}

function rowOfEntry(spec: ModelSpec, site: LinearSite, file: PlanFile, init: Init): PlanRow {
  const name = spec.names.linear(site);
  const entry = Object.hasOwn(file.linears, name) ? file.linears[name] : undefined;
  if (entry === undefined) {
    throw inputError(`The plan has no entry for ${name}; give it a rank or "keep": "dense".`);
  }
  const { rows, cols } = spec.linearShapes[site.role];
  if ((entry.rows ?? rows) !== rows || (entry.cols ?? cols) !== cols) {
    throw inputError(
      `The plan has ${name} as ${entry.rows ?? rows} x ${entry.cols ?? cols}, but in the model it is ${rows} x ${cols}; ` +
        `the plan is of another model.`,
    );
  }
  if ("keep" in entry) return denseRow(spec, site);
  const own = entry.method ?? file.method;
  const form = methodForm(own);
  const { paths, ranks } = pathsOf(name, entry, own);
  const envelope = entry.envelope ?? form.envelope;
  inInput(() => checkForm(own, own, paths, envelope), name);
  const bits: ScaleBits = entry.scaleBits ?? 16;
  if (form.kind === "onebit") return oneBitRow(spec, site, own, bits);
  const start = own === file.method ? init : form.inits[0];
  const largest = Math.min(largestRank(own, start, rows, cols), LARGEST_RANK_FACTOR * Math.min(rows, cols));
  const high = ranks.find((one) => one > largest);
  if (high !== undefined) {
    throw inputError(
      `The plan gives ${name} rank ${high}, but ${own} started by ${start} has at most ${largest} for ${rows} x ${cols}.`,
    );
  }
  const shape: MethodShape = {
    method: own,
    paths,
    envelope,
    midScale: form.midScale,
    scaleBits: bits,
  };
  return factoredRow(spec, site, shape, ranks);
}

function pathsOf(
  name: string,
  { rank: one, ranks, paths }: CompressedEntry,
  own: Method,
): { paths: number; ranks: readonly number[] } {
  if (isOneBit(own)) {
    if (one === undefined && ranks === undefined) return { paths: paths ?? 1, ranks: [] };
    throw inputError(
      `The plan gives ${name} a rank, but ${own} has none; leave it out or name another method.`,
    );
  }
  if ((one === undefined) === (ranks === undefined)) {
    throw inputError(
      `The plan must give ${name} either "rank" or "ranks"; it gives ${one ? "both" : "neither"}.`,
    );
  }
  if (ranks !== undefined && paths !== undefined && paths !== ranks.length) {
    throw inputError(
      `The plan gives ${name} ${paths} paths but ${ranks.length} ranks; give one rank a path.`,
    );
  }
  if (ranks !== undefined) return { paths: ranks.length, ranks };
  const count = paths ?? methodForm(own).paths;
  return { paths: count, ranks: Array<number>(count).fill(one ?? 0) };
}

/** What is wrong with a file is bad input, not a wrong command line. */
function inInput<T>(check: () => T, name?: string): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof SubbitError)) throw error;
    throw inputError(
      `The plan${name === undefined ? "" : `'s ${name}`} cannot be made: ${lowered(error.message)}`,
    );
  }
}

function described(value: unknown, path: readonly PropertyKey[]): string {
  const found = path.reduce<unknown>(
    (at, key) =>
      typeof at === "object" && at !== null ? (at as Record<PropertyKey, unknown>)[key] : undefined,
    value,
  );
  return found === undefined ? "nothing" : (JSON.stringify(found) ?? "something").slice(0, 60);
}

function lowered(message: string): string {
  return (message.charAt(0).toLowerCase() + message.slice(1)).replace(/\s*\n\s*/g, " ").slice(0, 200);
}
