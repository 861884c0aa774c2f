/** What the linears of a block are made of, and the feeds (weights) that this asks for. */
import {
  LINEAR_ROLES,
  type LinearRole,
  type ModelSpec,
  normHasBias,
  type NormRole,
  normSize,
} from "@subbit/core";
import type { Shape } from "../graph/shapes.js";

/** How a linear's weight is fed: as it is, or as the sign factors and scales of its paths. */
export type LinearForm =
  | { readonly kind: "dense" }
  | {
      readonly kind: "factored";
      /** Rank of each path. */
      readonly ranks: readonly number[];
      /** Whether there is a middle scale (NanoQuant has none). */
      readonly mid: boolean;
      /** l, the rank of the magnitude envelopes. @default 1 */
      readonly envelope?: number;
    }
  /** OneBit: y = LayerNorm(h o S (g o x)), no weights in the norm. */
  | { readonly kind: "onebit" };

/** By role; those of `ModelSpec.linears` count. */
export type BlockForms = Readonly<Record<LinearRole, LinearForm>>;

export type FeedKind = "weight" | "bias" | "signs" | "scales" | "norm";

/** One weight of a block program. */
export interface BlockFeed {
  readonly name: string;
  readonly kind: FeedKind;
  readonly role: LinearRole | NormRole | "final-norm";
  readonly shape: Shape;
}

/** A block whose linears are all dense. */
export const DENSE_FORMS = Object.fromEntries(
  LINEAR_ROLES.map((role) => [role, { kind: "dense" }]),
) as unknown as BlockForms;

/**
 * The feeds of a block, in a fixed order. Names and shapes (l = envelope rank, r = path rank):
 * `<role>.weight` [rows, cols], `<role>.bias` [rows], `<role>.paths.<p>.outSigns` [rows, r], `.inSigns` [r, cols] (f32,
 * +1 and -1), `.outScales` [l, rows], `.inScales` [l, cols], `.midScales` [l, r] (with `mid`; for l = 1 the middle
 * scale c, else G transposed), `.midOutScales` [l, r] (with `mid` and l > 1: Q transposed); `<norm>.weight` and, for
 * layer norms, `<norm>.bias` [hidden] ([headDim] for norms of heads). OneBit: `<role>.fullSigns` [rows, cols], `.outScales` [rows], `.inScales` [cols].
 */
export function blockFeeds(spec: ModelSpec, forms: BlockForms): BlockFeed[] {
  return [
    ...spec.norms.flatMap((role) => normFeedsOf(spec, role)),
    ...spec.linears.flatMap((role) => linearFeedsOf(spec, role, forms[role])),
  ];
}

/** The feeds of one norm. */
export function normFeedsOf(spec: ModelSpec, role: NormRole | "final-norm"): BlockFeed[] {
  const shape = [normSize(spec, role)];
  const weight: BlockFeed = { name: `${role}.weight`, kind: "norm", role, shape };
  return normHasBias(spec) ? [weight, { ...weight, name: `${role}.bias` }] : [weight];
}

/** The feeds of one linear. */
export function linearFeedsOf(spec: ModelSpec, role: LinearRole, form: LinearForm): BlockFeed[] {
  const { rows, cols, bias } = spec.linearShapes[role];
  const feeds: BlockFeed[] = [];
  const push = (suffix: string, kind: FeedKind, shape: Shape): void => {
    feeds.push({ name: `${role}.${suffix}`, kind, role, shape });
  };
  if (form.kind === "dense") push("weight", "weight", [rows, cols]);
  else if (form.kind === "onebit") {
    push("fullSigns", "signs", [rows, cols]);
    push("outScales", "scales", [rows]);
    push("inScales", "scales", [cols]);
  } else {
    const envelope = form.envelope ?? 1;
    form.ranks.forEach((rank, path) => {
      push(`paths.${path}.outSigns`, "signs", [rows, rank]);
      push(`paths.${path}.inSigns`, "signs", [rank, cols]);
      push(`paths.${path}.outScales`, "scales", [envelope, rows]);
      push(`paths.${path}.inScales`, "scales", [envelope, cols]);
      if (form.mid) push(`paths.${path}.midScales`, "scales", [envelope, rank]);
      if (form.mid && envelope > 1) push(`paths.${path}.midOutScales`, "scales", [envelope, rank]);
    });
  }
  if (bias) push("bias", "bias", [rows]);
  return feeds;
}

/** Names of the feeds of the given kinds: what to pass as `trainable`. */
export function feedNames(feeds: readonly BlockFeed[], kinds: readonly FeedKind[]): string[] {
  return feeds.filter((feed) => kinds.includes(feed.kind)).map((feed) => feed.name);
}
