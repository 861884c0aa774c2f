/**
 * A checkpoint: named tensors with dtypes, shapes and range-read bytes behind one interface, whatever the file format.
 * Nothing is ever loaded whole: callers ask for a tensor, or for some of its rows.
 */

/** Random-access bytes: a local file, a Blob, later an HTTP range. */
export interface ByteSource {
  /** What to call it in messages, usually a file name. */
  readonly name: string;
  readonly sizeBytes: number;
  /** Exactly `length` bytes from `offset`; throws `input` when the source is shorter. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /**
   * Fills `target`, which may be a view of shared memory, from `offset` on without a copy in between; throws `input` when the
   * source is shorter. Absent where the platform only hands out whole buffers: `readInto` of sources.ts works with both.
   */
  readInto?(offset: number, target: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** A flat folder of files: a Hugging Face directory on disk, or a map of Blobs in a browser. */
export interface FileSet {
  /** What to call it in messages. */
  readonly name: string;
  list(): Promise<readonly string[]>;
  /** `undefined` when there is no such file. */
  open(fileName: string): Promise<ByteSource | undefined>;
}

/** Dtypes of tensors as stored. The `Q` ones are GGUF block formats and exist only in GGUF files. */
export type StoredDtype =
  | "F32"
  | "F16"
  | "BF16"
  | "I8"
  | "U8"
  | "I32"
  | "I64"
  | "Q8_0"
  | "Q4_0"
  | "Q4_1"
  | "Q5_0"
  | "Q5_1"
  | "Q2_K"
  | "Q3_K"
  | "Q4_K"
  | "Q5_K"
  | "Q6_K";

export interface TensorInfo {
  readonly name: string;
  readonly dtype: StoredDtype;
  /** Row-major, slowest dimension first, as in PyTorch (GGUF's order is reversed at the edge). */
  readonly shape: readonly number[];
  /** Stored bytes. */
  readonly bytes: number;
  /** The file that holds it. */
  readonly file: string;
  /** Its first byte in that file. */
  readonly offset: number;
}

/** Half-open range of rows (first dimension). */
export interface RowRange {
  readonly begin: number;
  readonly end: number;
}

export interface Checkpoint {
  /** `pickle`: files that torch.save wrote. */
  readonly format: "safetensors" | "pickle" | "gguf";
  /** What to call it in messages. */
  readonly name: string;
  /** In the order of the file(s), by Hugging Face name (GGUF names are mapped at the edge). */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Bytes of all weight files (headers and padding included). */
  readonly fileBytes: number;
  /** Parsed config.json; for GGUF, the equivalent built from its metadata. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Sentences a user should see about how the checkpoint was read, such as a guess that had to be made. */
  readonly notes?: readonly string[];
  /** Stored bytes of the tensor, or of some of its rows. Not for tensors whose rows are reordered at the edge (GGUF q/k). */
  readRaw(name: string, rows?: RowRange): Promise<Uint8Array>;
  /**
   * Fills `target`, which may be a view of shared memory, with bytes of one of the weight files (`TensorInfo.file`). For those
   * who read many tensors in the order of the file. Absent where tensors are not stored as they are named (GGUF).
   */
  readFile?(file: string, offset: number, target: Uint8Array): Promise<void>;
  /** Values widened to f32: exact for F32, F16, BF16, I8, U8 and every GGUF type. */
  readF32(name: string, rows?: RowRange): Promise<Float32Array>;
  /** A side file as text: tokenizer.json, tokenizer_config.json, generation_config.json, subbit.json ... GGUF rebuilds the ones it can. */
  readText(fileName: string): Promise<string | undefined>;
  close(): Promise<void>;
}
