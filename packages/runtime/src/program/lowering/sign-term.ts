/** What surrounds the sign products of one sum `y = sum_j outScale_j o S (inScale_j o x)`. */
export interface SignTerms {
  readonly count: number;
  /** f32 [count, columns padded], or 0 for ones. */
  readonly inScales: number;
  /** f32 [count, rows padded] */
  readonly outScales: number;
  /** Whether y holds an earlier part of the sum. @default false */
  readonly accumulate?: boolean;
  /** @default 0, none */
  readonly bias?: number;
  /** Only for the tokens whose logits are asked for. @default false */
  readonly headOnly?: boolean;
}
