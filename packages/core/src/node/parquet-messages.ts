/** What passes between read-parquet.ts and the process that reads the file. */

export interface ParquetJob {
  readonly path: string;
  readonly column: string;
  /** Characters of all texts together. */
  readonly maxCharacters: number;
}

/** Texts of one row group (nulls are ""), the end, or why not. */
export type ParquetReply =
  | { readonly kind: "texts"; readonly texts: readonly string[]; readonly totalRows: number }
  | { readonly kind: "done" }
  | { readonly kind: "error"; readonly message: string };
