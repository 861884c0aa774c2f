export * from "./options.js";
export * from "./recipe.js";
export * from "./plan/plan.js";
export * from "./factorise/index.js";
