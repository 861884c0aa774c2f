/** The published methods as storage forms, and how each may start. */
import { type ScaleBits, SubbitError } from "@subbit/core";
import { type Allocation, type Init, type Method, METHOD_NAMES } from "../choices.js";
import { methodForm } from "../factorise/choice.js";
import type { FactoriseMethod } from "../factorise/types.js";

/** How a method stores a linear, before its rank is known. */
export interface MethodShape {
  readonly method: Method;
  readonly paths: number;
  /** l */
  readonly envelope: number;
  readonly midScale: boolean;
  readonly scaleBits: ScaleBits;
}

/**
 * What `auto` stands for, in one place: the best measured form at every size tried (docs/compress.md) is one path from
 * ADMM without a middle scale and with scales of 8 bits, since bits buy more as rank.
 */
export const AUTO = {
  method: "nanoquant",
  factoriser: "auto",
  scaleBits: 8,
} as const satisfies { method: Method; factoriser: FactoriseMethod; scaleBits: ScaleBits };

/**
 * How `auto` shares out ranks where nothing is asked for and both ways are possible. Methods asked for by name have equal bits
 * everywhere, as in their papers.
 */
export const AUTO_ALLOCATION: Allocation = "loss";

/** Scales of the methods asked for by name are as wide as in their papers, unless the caller says otherwise. */
const PUBLISHED_SCALE_BITS: ScaleBits = 16;

/** Envelopes that the command line offers; any whole number up to the largest is stored. */
export const LARGEST_ENVELOPE = 64;
const LARGEST_PATHS = 8;

export interface ShapeOptions {
  readonly method?: Method | "auto";
  readonly init?: Init;
  readonly paths?: number;
  readonly envelope?: number;
  readonly scaleBits?: ScaleBits;
}

export interface ChosenMethod {
  readonly shape: MethodShape;
  readonly init: Init;
  readonly factoriser: FactoriseMethod;
}

/** The form that the options ask for. Throws `usage` for one that the method cannot have. */
export function chosenMethod(options: ShapeOptions): ChosenMethod {
  const { method: asked = "auto" } = options;
  const method: Method = asked === "auto" ? AUTO.method : asked;
  const form = methodForm(method, checkedInit(method, options.init));
  const { paths = form.paths, envelope = form.envelope } = options;
  const scaleBits = options.scaleBits ?? (asked === "auto" ? AUTO.scaleBits : PUBLISHED_SCALE_BITS);
  checkForm(asked, method, paths, envelope);
  return {
    shape: { method, paths, envelope, midScale: form.midScale, scaleBits },
    init: checkedInit(method, options.init),
    factoriser: asked === "auto" ? AUTO.factoriser : method,
  };
}

/** Throws `usage` when the method has no such paths or envelope. */
export function checkForm(asked: string, method: Method, paths: number, envelope: number): void {
  if (!Number.isInteger(paths) || paths < 1 || paths > LARGEST_PATHS) {
    throw new SubbitError("usage", `${paths} paths were asked for; give a whole number from 1 to 8.`);
  }
  if (!Number.isInteger(envelope) || envelope < 1 || envelope > LARGEST_ENVELOPE) {
    throw new SubbitError(
      "usage",
      `Envelopes of rank ${envelope} were asked for; give a whole number from 1 to ${LARGEST_ENVELOPE}.`,
    );
  }
  const form = methodForm(method);
  if (envelope > 1 && !form.envelopes) {
    throw new SubbitError(
      "usage",
      `Method ${asked} stores envelopes of rank 1, and ${envelope} was asked for; ` +
        `choose ${withEnvelopes().join(" or ")} or leave the envelope out.`,
    );
  }
  if (paths > 1 && form.kind === "onebit") {
    throw new SubbitError(
      "usage",
      `Method ${method} has one full-rank sign matrix, and ${paths} paths were asked for; leave the paths out.`,
    );
  }
}

/** Methods whose envelopes may have any rank. */
export function withEnvelopes(): Method[] {
  return METHOD_NAMES.filter((name) => methodForm(name).envelopes);
}

/** The start asked for, or the method's own. Throws `usage` for one that the method does not know. */
export function checkedInit(method: Method, init: Init | undefined): Init {
  const known = methodForm(method).inits;
  if (init === undefined) return known[0];
  if (known.includes(init)) return init;
  throw new SubbitError(
    "usage",
    `Method ${method} starts by ${known.join(" or ")}, not by ${init}; choose one of its own or leave the start out.`,
  );
}

/** The largest rank that means anything to a method and start; ADMM may go above the dimensions. */
export function largestRank(method: Method, init: Init, rows: number, cols: number): number {
  return methodForm(method, init).overcomplete ? Infinity : Math.min(rows, cols);
}

/** Whether the method stores a sign for every weight, and so has no rank. */
export function isOneBit(method: Method): boolean {
  return methodForm(method).kind === "onebit";
}
