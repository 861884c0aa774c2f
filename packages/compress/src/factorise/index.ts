/** Factorisation of one linear: methods, options and the factoriser that keeps compiled programs. */
export { factorise } from "./factorise.js";
export { Factoriser, type FactoriserOptions, methodForm, type MethodForm } from "./factoriser.js";
export type {
  FactorisedLinear,
  FactoriseMethod,
  FactoriseOptions,
  Importance,
  PathLatents,
} from "./types.js";
export { DEFAULT_SHRINKAGE } from "./importance.js";
