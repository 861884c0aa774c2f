/** Factorisation of one linear: methods, options and the factoriser that keeps compiled programs. */
export { methodForm, type MethodForm } from "./choice.js";
export { factorise } from "./factorise.js";
export { Factoriser, type FactoriserOptions } from "./factoriser.js";
export type {
  FactorisedLinear,
  FactoriseMethod,
  FactoriseOptions,
  Importance,
  PathLatents,
  Schedule as FactoriseSchedule,
} from "./types.js";
export { DEFAULT_SHRINKAGE } from "./importance.js";
