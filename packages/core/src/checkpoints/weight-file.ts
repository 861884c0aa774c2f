/** One file of weights, whatever its format: its tensors by name, read by range. */
import type { RowRange, TensorInfo } from "./types.js";

export interface WeightFile {
  readonly name: string;
  readonly sizeBytes: number;
  /** Tensors of the dtypes that are read, in the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Tensors of other dtypes (F64, BOOL ...) with the dtype; asking for one throws `input`. */
  readonly unreadable: ReadonlyMap<string, string>;
  /** Whether every tensor lies in the file row by row, so that its bytes there are its values. @default true */
  readonly contiguous?: boolean;
  /** Stored bytes of the tensor, or of some of its rows. */
  readRaw(name: string, rows?: RowRange): Promise<Uint8Array>;
  /** Values widened to f32, exactly. */
  readF32(name: string, rows?: RowRange): Promise<Float32Array>;
  /** Fills `target` with the file's bytes from `offset` on. */
  readFile(offset: number, target: Uint8Array): Promise<void>;
  close(): Promise<void>;
}
