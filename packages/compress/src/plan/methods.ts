/** The published methods as combinations of a storage form and a way to start. */
import type { FactoriseMethod } from "../factorise/types.js";
import type { Init, Method } from "../choices.js";

export const METHODS = {
  dbf: { init: "admm", paths: 1, midScale: true },
  nanoquant: { init: "admm", paths: 1, midScale: false },
  littlebit: { init: "dual-svid", paths: 2, midScale: true },
} as const satisfies Record<Method, { init: Init; paths: number; midScale: boolean }>;

/** The factorisation that gives a method's form from its start: two paths from ADMM are DBF's algorithm run twice. */
export function factoriseMethod(method: Method, init: Init): FactoriseMethod {
  if (init === "dual-svid") return "littlebit";
  return METHODS[method].midScale ? "dbf" : "nanoquant";
}
