/** The published methods as storage forms, and how each may start. */
import { type ScaleBits, SubbitError } from "@subbit/core";
import type { Allocation, Init, Method } from "../choices.js";
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

interface MethodFacts {
  /** The first is the default. */
  readonly inits: readonly Init[];
  readonly paths: number;
  readonly envelope: number;
  readonly midScale: boolean;
}

export const METHODS = {
  dbf: { inits: ["admm"], paths: 1, envelope: 1, midScale: true },
  nanoquant: { inits: ["admm"], paths: 1, envelope: 1, midScale: false },
  littlebit: { inits: ["dual-svid", "itq", "admm"], paths: 2, envelope: 1, midScale: true },
  mdbf: { inits: ["closed-form", "admm"], paths: 1, envelope: 2, midScale: true },
  onebit: { inits: ["svd", "nmf", "copy"], paths: 1, envelope: 1, midScale: false },
} as const satisfies Record<Method, MethodFacts>;

/**
 * What `auto` stands for, in one place: the best measured form at every size tried (docs/compress.md) is one path from
 * ADMM without a middle scale, whose bits buy more as rank.
 */
export const AUTO = {
  method: "nanoquant",
  factoriser: "nanoquant",
  scaleBits: 16,
} as const satisfies { method: Method; factoriser: FactoriseMethod; scaleBits: ScaleBits };

/** How ranks are shared out where nothing is asked for and both ways are possible. */
export const DEFAULT_ALLOCATION: Allocation = "uniform";

/** Scales of the methods asked for by name are as wide as in their papers, unless the caller says otherwise. */
const PUBLISHED_SCALE_BITS: ScaleBits = 16;

/** Signs from singular vectors, of which there are no more than the smaller dimension. */
const SPECTRAL_INITS: readonly Init[] = ["dual-svid", "itq", "closed-form"];

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
  const facts: MethodFacts = METHODS[method];
  const { paths = facts.paths, envelope = facts.envelope } = options;
  const scaleBits = options.scaleBits ?? (asked === "auto" ? AUTO.scaleBits : PUBLISHED_SCALE_BITS);
  checkForm(asked, method, paths, envelope);
  return {
    shape: { method, paths, envelope, midScale: facts.midScale, scaleBits },
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
  if (envelope > 1 && method !== "mdbf") {
    throw new SubbitError(
      "usage",
      `Method ${asked} stores envelopes of rank 1, and ${envelope} was asked for; choose mdbf or leave the envelope out.`,
    );
  }
  if (paths > 1 && method === "onebit") {
    throw new SubbitError(
      "usage",
      `Method onebit has one full-rank sign matrix, and ${paths} paths were asked for; leave the paths out.`,
    );
  }
}

/** The start asked for, or the method's own. Throws `usage` for one that the method does not know. */
export function checkedInit(method: Method, init: Init | undefined): Init {
  const known: readonly Init[] = METHODS[method].inits;
  if (init === undefined) return known[0];
  if (known.includes(init)) return init;
  throw new SubbitError(
    "usage",
    `Method ${method} starts by ${known.join(" or ")}, not by ${init}; choose one of its own or leave the start out.`,
  );
}

/** The largest rank that means anything to a method and start; ADMM may go above the dimensions. */
export function largestRank(init: Init, rows: number, cols: number): number {
  return SPECTRAL_INITS.includes(init) ? Math.min(rows, cols) : Infinity;
}
