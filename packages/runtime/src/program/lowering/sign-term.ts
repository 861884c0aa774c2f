/** What surrounds one sign product. */
export interface SignTerm {
  /** Multiplied into x, or 0 for none. */
  readonly inScale: number;
  readonly outScale: number;
  /** Whether y holds earlier terms of the sum. */
  readonly accumulate: boolean;
  readonly bias: number;
}
