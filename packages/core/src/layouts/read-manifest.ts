/**
 * Reading `subbit.json`: its version, its schema, and what its fields must say about each other. Whether it agrees with
 * config.json and the tensors is check-manifest.ts.
 */
import { z } from "zod";
import { inputError } from "../errors.js";
import type { Checkpoint } from "../checkpoints/types.js";
import {
  FORMAT_VERSION,
  manifestSchema,
  type LinearEntry,
  type SubbitManifest,
  type TableEntry,
} from "./manifest.js";

export const MANIFEST_FILE = "subbit.json";
const MAX_MANIFEST_CHARS = 64 * 2 ** 20;

const versionHeader = z.object({
  format: z.literal("subbit"),
  formatVersion: z.object({ major: z.number(), minor: z.number().optional() }),
  writtenBy: z.string().max(200).optional(),
});

/** The manifest of a checkpoint in the subbit layout; `undefined` for any other checkpoint. */
export async function readManifest(checkpoint: Checkpoint): Promise<SubbitManifest | undefined> {
  const text = await checkpoint.readText(MANIFEST_FILE);
  if (text === undefined) {
    const quantisation = checkpoint.config["quantization_config"];
    if (isRecord(quantisation) && quantisation["quant_method"] === "subbit") {
      throw inputError(
        `${checkpoint.name} is in the subbit layout by its config.json, but ${MANIFEST_FILE} is missing.`,
      );
    }
    return undefined;
  }
  return parseManifest(text, checkpoint.name);
}

/** Parses subbit.json; `source` is what messages call its folder. */
export function parseManifest(text: string, source: string): SubbitManifest {
  if (text.length > MAX_MANIFEST_CHARS)
    throw inputError(`${MANIFEST_FILE} of ${source} is larger than 64 MiB.`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw inputError(`${MANIFEST_FILE} of ${source} is not valid JSON.`, { cause });
  }
  const header = versionHeader.safeParse(json);
  if (!header.success)
    throw inputError(`${MANIFEST_FILE} of ${source} does not say which format version it has.`);
  const { major, minor = 0 } = header.data.formatVersion;
  if (major !== FORMAT_VERSION.major) {
    throw inputError(
      `${source} was written by ${header.data.writtenBy ?? "an unknown program"} in version ${major} of the subbit format, but this program reads version ${FORMAT_VERSION.major}; use the program that wrote it, or convert it again.`,
    );
  }
  const result = manifestSchema.safeParse(json);
  if (result.success) {
    checkRanks(result.data, source);
    return result.data;
  }
  const issue = result.error.issues[0];
  // What a later minor version adds and this program does not know may be the reason; both versions are said then.
  const newer =
    minor > FORMAT_VERSION.minor
      ? ` (it is in version ${major}.${minor} of the subbit format; this program knows ${major}.${FORMAT_VERSION.minor})`
      : "";
  throw inputError(
    `${MANIFEST_FILE} of ${source} is malformed at ${issue.path.join(".")}: ${issue.message}${newer}.`,
  );
}

/** The fields of a factored entry that must agree with each other. */
function checkRanks(manifest: SubbitManifest, source: string): void {
  const { linears, embedding, head } = manifest;
  const entries: [string, LinearEntry | TableEntry | undefined][] = [
    ...Object.entries(linears),
    ["the embedding", embedding],
    ["the head", head],
  ];
  for (const [name, entry] of entries) {
    if (entry?.kind !== "factored" || entry.ranks === undefined) continue;
    const { rank, ranks, paths } = entry;
    if (ranks.length !== paths) {
      throw inputError(
        `${MANIFEST_FILE} of ${source} gives ${name} ${paths} paths, but ${ranks.length} ranks.`,
      );
    }
    if (ranks[0] !== rank) {
      throw inputError(
        `${MANIFEST_FILE} of ${source} gives ${name} the rank ${rank}, but ${ranks[0]} as the first of its ranks.`,
      );
    }
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
