export * from "./node/read-corpus.js";
export { readParquetTexts, type ReadParquetOptions } from "./node/read-parquet.js";
export { fileSource, folderFiles } from "./node/file-source.js";
export { hashFile, type HashFileOptions } from "./node/hash-file.js";
export { tryProcessLock, type LockHolder, type LockOutcome } from "./node/process-lock.js";
export { openCheckpointAt } from "./node/open-checkpoint-at.js";
export {
  writeSafetensors,
  type WriteSafetensorsOptions,
  type WrittenSafetensors,
} from "./node/write-safetensors.js";
export { checkTarget, writeFolder, type WriteFolderOptions } from "./node/write-folder.js";
export { writePlan, type WritePlanOptions } from "./node/write-plan.js";
export {
  writeSubbit,
  type SubbitFindings,
  type WriteSubbitOptions,
  type WrittenSubbit,
} from "./node/write-subbit.js";
