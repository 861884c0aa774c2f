/**
 * `subbit.json`: what a packed model says about itself beside its tensors. docs/format.md describes the bytes.
 * The zod schema is the reader's guard against hostile files; the type follows from it.
 */
import { z } from "zod";

/** Readers refuse another major version. */
export const FORMAT_VERSION = { major: 1, minor: 2 } as const;

/** Larger than any real layer's dimension; keeps hostile shapes from overflowing anything. */
const MAX_DIMENSION = 2 ** 24;
const dimension = z.number().int().min(1).max(MAX_DIMENSION);

/** Bits of one bias value as stored; 0 when the linear has no bias. */
const biasBits = z.union([z.literal(0), z.literal(16), z.literal(32)]);

/** Bits of one stored scale. */
const scaleBits = z.union([z.literal(32), z.literal(16), z.literal(8)]);

const factoredEntry = z.object({
  kind: z.literal("factored"),
  method: z.string().max(32),
  rows: dimension,
  cols: dimension,
  /** Of the first path. */
  rank: dimension,
  /** One a path; present when they differ. */
  ranks: z.array(dimension).min(2).max(8).optional(),
  paths: z.number().int().min(1).max(8),
  envelope: z.number().int().min(1).max(64),
  /** Whether each path stores a middle scale (two of them for an envelope above 1). */
  midScale: z.boolean(),
  scaleBits,
  biasBits,
});

/** A full-rank sign matrix with a LayerNorm behind it. */
const oneBitEntry = z.object({
  kind: z.literal("onebit"),
  method: z.string().max(32),
  rows: dimension,
  cols: dimension,
  scaleBits,
  biasBits,
});

const denseEntry = z.object({
  kind: z.literal("dense"),
  rows: dimension,
  cols: dimension,
  bits: z.union([z.literal(32), z.literal(16), z.literal(8), z.literal(4), z.literal(2)]),
  biasBits,
});

const byteCount = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

/** Tensor bytes of the weight files by what they hold; headers and alignment come on top. */
const storedBytes = z.object({
  signs: byteCount,
  scales: byteCount,
  /** Weights of the linears that were left dense. */
  dense: byteCount,
  biases: byteCount,
  embeddings: byteCount,
  head: byteCount,
  norms: byteCount,
});

export const manifestSchema = z.object({
  format: z.literal("subbit"),
  formatVersion: z.object({ major: z.number().int(), minor: z.number().int() }),
  /** The program that wrote it, `subbit 0.1.0`. */
  writtenBy: z.string().max(200),
  /** By linear name (no `.weight`), in model order. */
  linears: z.record(
    z.string().max(300),
    z.discriminatedUnion("kind", [factoredEntry, oneBitEntry, denseEntry]),
  ),
  embedding: z.discriminatedUnion("kind", [factoredEntry, denseEntry]),
  /** Absent when the head is tied to the embedding. */
  head: z.discriminatedUnion("kind", [factoredEntry, denseEntry]).optional(),
  bytes: storedBytes,
  /** How it was made: method, budget, calibration, stages; free form, for people and cards. */
  recipe: z.record(z.string(), z.unknown()),
  /** sha256 of the teacher's weight files. */
  teacherSha256: z.string().max(128).optional(),
  /** What was measured on it: perplexity and so on; free form. */
  quality: z.record(z.string(), z.unknown()).optional(),
});

export type SubbitManifest = z.infer<typeof manifestSchema>;
export type FactoredEntry = z.infer<typeof factoredEntry>;
export type DenseEntry = z.infer<typeof denseEntry>;
export type OneBitEntry = z.infer<typeof oneBitEntry>;
export type LinearEntry = FactoredEntry | OneBitEntry | DenseEntry;
/** Of an embedding or a head. */
export type TableEntry = FactoredEntry | DenseEntry;
export type StoredBytes = z.infer<typeof storedBytes>;

export function emptyBytes(): StoredBytes {
  return { signs: 0, scales: 0, dense: 0, biases: 0, embeddings: 0, head: 0, norms: 0 };
}
