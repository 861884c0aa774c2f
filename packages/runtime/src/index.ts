/** Runs dense and packed models on WebAssembly, in Node and in the browser. */
export { load, type LoadSource } from "./load.js";
export { loadModel, type LoadOptions } from "./load-model.js";
export { KV_BITS, type KvBits } from "./kv-layout.js";
export type { RuntimeDevice } from "./executors/open.js";
export type { Capabilities } from "./executors/types.js";
export { PROFILE_WARM_UP, RuntimeModel, type LogitsTile, type Prompt } from "./session/runtime-model.js";
export type { ProfileRow, TokenProfile } from "./session/profile.js";
export type { GenerateOptions, GeneratedToken, GenerationResult, StopReason } from "./session/generate.js";
export { createSampler, type Sampler, type SamplingOptions } from "./sampling/sampler.js";
