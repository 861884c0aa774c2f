export * from "./errors.js";
export * from "./progress.js";
export * from "./checkpoints/types.js";
export * from "./linears/types.js";
export * from "./model/spec.js";
export { endTensors } from "./model/check-ends.js";
export * from "./model/ops.js";
export * from "./model/forward.js";
export * from "./model/model.js";
export * from "./layouts/manifest.js";
export * from "./text/types.js";
export * from "./text/corpus.js";
export { TEXT_FORMATS, type TextFormat } from "./text/corpus-text.js";
export { sha256Hex } from "./text/sha256.js";
export * from "./model/families/registry.js";
export { parseConfig, type ModelConfig } from "./model/config-fields.js";
export * from "./model/open-model.js";
export * from "./model/reference.js";
export * from "./linears/bits.js";
export * from "./linears/dense-linear.js";
export * from "./linears/factored-linear.js";
export * from "./linears/onebit-linear.js";
export * from "./linears/quantise-rows.js";
export * from "./linears/scale-codes.js";
export * from "./linears/table.js";
export * from "./linears/round-scales.js";
export * from "./linears/sign-matrix.js";
export { readManifest, parseManifest, MANIFEST_FILE } from "./layouts/read-manifest.js";
export * from "./layouts/subbit-tensors.js";
export * from "./tensors/half.js";
export * from "./tensors/bytes.js";
export {
  allocate as allocateBytes,
  bytesSource,
  blobSource,
  blobFiles,
  requireRange as requireByteRange,
} from "./checkpoints/sources.js";
export { isPlainFileName } from "./checkpoints/file-names.js";
export { PLAIN_DTYPE_BYTES, type PlainDtype } from "./checkpoints/dtypes.js";
export * from "./checkpoints/limits.js";
export { openCheckpoint } from "./checkpoints/open.js";
export { openSafetensors, type SafetensorsFile } from "./checkpoints/safetensors/file.js";
export {
  encodeSafetensors,
  encodeSafetensorsHeader,
  inFileOrder,
  type SafetensorsMetadata,
  type TensorDeclaration,
  type TensorToWrite,
} from "./checkpoints/safetensors/encode.js";
export { openGguf, type GgufFile } from "./checkpoints/gguf/file.js";
export type { Metadata as GgufMetadata } from "./checkpoints/gguf/parse.js";
export * from "./text/tokenizer.js";
export { createChatTemplate, type ChatTemplate } from "./text/chat-template.js";
export * from "./text/token-stream-decoder.js";
export { OFFICIAL_LAYOUTS, officialLayout } from "./layouts/registry.js";
export * from "./layouts/plan-folder.js";
export * from "./layouts/converted-model.js";
export * from "./layouts/compare-models.js";
export type * from "./layouts/official-layout.js";
export { planSubbit, type PackedModel, type SubbitPlan } from "./layouts/subbit-write.js";
export * from "./linears/narrow.js";
export * from "./random/philox.js";
export * from "./random/normal.js";
export * from "./model/inspect.js";
