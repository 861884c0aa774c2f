/** Factorisation methods by name. */
import type { FactoriseMethod } from "../types.js";
import { auto } from "./auto.js";
import { dbf } from "./dbf.js";
import { littlebit } from "./littlebit.js";
import { mdbf } from "./mdbf.js";
import type { Method } from "./method.js";
import { nanoquant } from "./nanoquant.js";
import { onebit } from "./onebit.js";

export const METHODS = { auto, nanoquant, dbf, littlebit, mdbf, onebit } satisfies Record<
  FactoriseMethod,
  Method
>;
