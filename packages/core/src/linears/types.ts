/**
 * What a linear layer's weight can be. A format is data, not a class hierarchy: one factored linear holds
 * DBF (one path), LittleBit (two paths), NanoQuant (one path, unit middle scale) and MDBF (envelopes of rank l).
 */

/**
 * A matrix of signs, row-major. Each row is padded to whole 32-bit words with +1; the least significant bit is the
 * first column; bit 0 = +1, bit 1 = -1 (LittleBit's and NanoQuant's convention).
 */
export interface SignMatrix {
  readonly rows: number;
  readonly cols: number;
  /** [rows * ceil(cols / 32)] */
  readonly words: Uint32Array;
}

/**
 * One path: `[S_out o (A Q^T)] [S_in o (G B^T)]`, o elementwise, with envelopes of rank l.
 * For l = 1 the two middle scales merge into one: `midOut` is absent and `midIn` is c; absent too means all ones.
 */
export interface FactoredPath {
  readonly rank: number;
  /** l, the rank of the magnitude envelopes. */
  readonly envelope: number;
  /** S_out, [rows, rank] */
  readonly outSigns: SignMatrix;
  /** S_in, [rank, cols] */
  readonly inSigns: SignMatrix;
  /** A transposed, [envelope, rows] */
  readonly outScales: Float32Array;
  /** B transposed, [envelope, cols] */
  readonly inScales: Float32Array;
  /** Q transposed, [envelope, rank]; absent means ones (always absent for l = 1). */
  readonly midOut?: Float32Array;
  /** G transposed, [envelope, rank]; for l = 1 the middle scale c; absent means ones (NanoQuant). */
  readonly midIn?: Float32Array;
}

/**
 * Width of a stored scale: 16 = IEEE half, 8 = a logarithmic code beside one half a vector (linears/scale-codes.ts),
 * 32 = float, for scales that came from elsewhere and that a half would round.
 */
export type ScaleBits = 32 | 16 | 8;

/** `W ~ sum over paths`, y = W x + bias. Paths may differ in rank, not in envelope or in having a middle scale. */
export interface FactoredLinear {
  readonly kind: "factored";
  readonly rows: number;
  readonly cols: number;
  readonly paths: readonly FactoredPath[];
  /** @default 16 */
  readonly scaleBits?: ScaleBits;
  /** [rows] */
  readonly bias?: Float32Array;
}

/**
 * OneBit (arXiv 2402.11295): a full-rank sign matrix with a rank-1 envelope, and a LayerNorm without weights over the
 * outputs, after the scale and before the bias: y = LayerNorm(h o S (g o x)) + bias. Not a matrix: it cannot be folded.
 */
export interface OneBitLinear {
  readonly kind: "onebit";
  readonly rows: number;
  readonly cols: number;
  /** S, [rows, cols] */
  readonly signs: SignMatrix;
  /** h, [rows] */
  readonly outScales: Float32Array;
  /** g, [cols] */
  readonly inScales: Float32Array;
  /** @default 16 */
  readonly scaleBits?: ScaleBits;
  /** [rows] */
  readonly bias?: Float32Array;
}

/** Added to the variance in the LayerNorm of a OneBit linear (torch's default, which its code uses). */
export const ONEBIT_EPS = 1e-5;

/** How the values of a dense matrix are held. */
export type DenseStorage =
  | { readonly dtype: "f32"; readonly values: Float32Array }
  /** IEEE half bit patterns. */
  | { readonly dtype: "f16"; readonly values: Uint16Array }
  | { readonly dtype: "bf16"; readonly values: Uint16Array }
  /** value = code * rowScales[row] */
  | { readonly dtype: "i8"; readonly values: Int8Array; readonly rowScales: Float32Array }
  /** Two codes a byte, even column in the low nibble, each row padded to a whole byte; value = (code - 8) * rowScales[row]. */
  | { readonly dtype: "i4"; readonly values: Uint8Array; readonly rowScales: Float32Array }
  /** Four codes a byte, first column in the lowest bits, each row padded to a whole byte; value = (code - 1.5) * rowScales[row]. */
  | { readonly dtype: "i2"; readonly values: Uint8Array; readonly rowScales: Float32Array };

/** A dense [rows, cols] matrix: a linear that was left alone, an embedding table or a head. */
export interface DenseLinear {
  readonly kind: "dense";
  readonly rows: number;
  readonly cols: number;
  readonly storage: DenseStorage;
  /** [rows] */
  readonly bias?: Float32Array;
}

export type Linear = DenseLinear | FactoredLinear | OneBitLinear;

/** An embedding table or a head, [vocabSize, hiddenSize]: row i of it (of what it reconstructs to) belongs to token i. */
export type Table = DenseLinear | FactoredLinear;
