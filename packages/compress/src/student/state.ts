/**
 * The student under training: a block's linears as dense matrices or as factors with latents, and its norms.
 *
 * A latent carries a sign (its own) and, in training, how firmly it holds it. Latents have unit mean magnitude by rows
 * and columns, so that one surrogate width fits every matrix; only their signs reach the packed file.
 */
import {
  type FactoredLinear,
  type FactoredPath,
  LINEAR_ROLES,
  type LinearRole,
  type NormRole,
  packSigns,
  type ScaleBits,
} from "@subbit/core";

export interface PathState {
  readonly rank: number;
  /** [rows, rank] */
  readonly outLatents: Float32Array;
  /** [rank, cols] */
  readonly inLatents: Float32Array;
  /** l @default 1 */
  readonly envelope?: number;
  /** [l, rows] */
  readonly outScales: Float32Array;
  /** [l, rank]; absent means ones (NanoQuant). */
  readonly midScales?: Float32Array;
  /** [l, rank]; Q transposed, present for l > 1 with middle scales. */
  readonly midOutScales?: Float32Array;
  /** [l, cols] */
  readonly inScales: Float32Array;
}

export interface FactoredState {
  readonly kind: "factored";
  readonly rows: number;
  readonly cols: number;
  readonly paths: readonly PathState[];
  /** Width of the stored scales. @default 16 */
  readonly scaleBits?: ScaleBits;
  /** [rows] */
  readonly bias?: Float32Array;
}

/** OneBit: signs of every weight, a LayerNorm behind the product. */
export interface OneBitState {
  readonly kind: "onebit";
  readonly rows: number;
  readonly cols: number;
  /** [rows, cols] */
  readonly fullLatents: Float32Array;
  /** [rows] */
  readonly outScales: Float32Array;
  /** [cols] */
  readonly inScales: Float32Array;
  /** @default 16 */
  readonly scaleBits?: ScaleBits;
  /** [rows] */
  readonly bias?: Float32Array;
}

export interface DenseState {
  readonly kind: "dense";
  readonly rows: number;
  readonly cols: number;
  /** [rows, cols] */
  readonly weight: Float32Array;
  /** [rows] */
  readonly bias?: Float32Array;
}

export type LinearState = DenseState | FactoredState | OneBitState;

export interface NormState {
  readonly weight: Float32Array;
  readonly bias?: Float32Array;
}

export interface BlockState {
  readonly linears: Readonly<Record<LinearRole, LinearState>>;
  readonly norms: Readonly<Record<NormRole, NormState>>;
}

export const NORM_ROLES: readonly NormRole[] = ["attention-norm", "mlp-norm"];

/** Every array of a block by a stable name, such as `q.paths.0.outLatents` or `attention-norm.weight`. */
export function blockArrays(block: BlockState): Map<string, Float32Array> {
  const arrays = new Map<string, Float32Array>();
  for (const role of LINEAR_ROLES) {
    const linear = block.linears[role];
    if (linear.kind === "dense") arrays.set(`${role}.weight`, linear.weight);
    else {
      linear.paths.forEach((path, p) => {
        arrays.set(`${role}.paths.${p}.outLatents`, path.outLatents);
        arrays.set(`${role}.paths.${p}.inLatents`, path.inLatents);
        arrays.set(`${role}.paths.${p}.outScales`, path.outScales);
        if (path.midScales) arrays.set(`${role}.paths.${p}.midScales`, path.midScales);
        arrays.set(`${role}.paths.${p}.inScales`, path.inScales);
      });
    }
    if (linear.bias) arrays.set(`${role}.bias`, linear.bias);
  }
  for (const role of NORM_ROLES) {
    arrays.set(`${role}.weight`, block.norms[role].weight);
    const { bias } = block.norms[role];
    if (bias) arrays.set(`${role}.bias`, bias);
  }
  return arrays;
}

/** The same block with its arrays taken from `arrays`, by the names of `blockArrays`. */
export function withArrays(block: BlockState, arrays: ReadonlyMap<string, Float32Array>): BlockState {
  const take = (name: string, old: Float32Array): Float32Array => arrays.get(name) ?? old;
  const bias = (role: string, old: Float32Array | undefined) =>
    old ? { bias: take(`${role}.bias`, old) } : {};
  const linears = Object.fromEntries(
    LINEAR_ROLES.map((role) => {
      const linear = block.linears[role];
      if (linear.kind === "dense") {
        const weight = take(`${role}.weight`, linear.weight);
        return [role, { ...linear, weight, ...bias(role, linear.bias) }];
      }
      const paths = linear.paths.map((path, p): PathState => {
        const at = (name: string, old: Float32Array) => take(`${role}.paths.${p}.${name}`, old);
        return {
          rank: path.rank,
          outLatents: at("outLatents", path.outLatents),
          inLatents: at("inLatents", path.inLatents),
          outScales: at("outScales", path.outScales),
          ...(path.midScales && { midScales: at("midScales", path.midScales) }),
          inScales: at("inScales", path.inScales),
        };
      });
      return [role, { ...linear, paths, ...bias(role, linear.bias) }];
    }),
  ) as Record<LinearRole, LinearState>;
  const norms = Object.fromEntries(
    NORM_ROLES.map((role) => {
      const norm = block.norms[role];
      return [role, { weight: take(`${role}.weight`, norm.weight), ...bias(role, norm.bias) }];
    }),
  ) as Record<NormRole, NormState>;
  return { linears, norms };
}

/** A copy whose arrays (those with `which` names; all by default) may be trained without changing the original. */
export function copyBlock(block: BlockState, which: (name: string) => boolean = () => true): BlockState {
  const copied = [...blockArrays(block)].filter(([name]) => which(name));
  return withArrays(block, new Map(copied.map(([name, array]) => [name, array.slice()])));
}

/** The signs and scales of a linear under training, as core's type. */
export function factoredLinear(state: FactoredState): FactoredLinear {
  const { rows, cols } = state;
  return {
    kind: "factored",
    rows,
    cols,
    paths: state.paths.map((path): FactoredPath => ({
      rank: path.rank,
      envelope: 1,
      outSigns: packSigns(path.outLatents, rows, path.rank),
      inSigns: packSigns(path.inLatents, path.rank, cols),
      outScales: path.outScales,
      inScales: path.inScales,
      ...(path.midScales && { midIn: path.midScales }),
    })),
    ...(state.bias && { bias: state.bias }),
  };
}
