/** The files that `model.safetensors.index.json` names. */
import { MAX_SHARDS, inputError, isPlainFileName } from "@subbit/core";

export const INDEX_FILE = "model.safetensors.index.json";

/** Sorted. Throws `input` for an index that names none, too many, or files outside its folder. */
export function shardNames(text: string, what: string): string[] {
  let map: unknown;
  try {
    map = (JSON.parse(text) as { weight_map?: unknown } | null)?.weight_map;
  } catch (cause) {
    throw inputError(`${what} is not valid JSON.`, { cause });
  }
  const names = [
    ...new Set(typeof map === "object" && map !== null ? (Object.values(map) as unknown[]) : []),
  ];
  if (names.length === 0 || names.length > MAX_SHARDS) {
    throw inputError(`${what} names ${names.length} weight files, where 1 to ${MAX_SHARDS} are accepted.`);
  }
  const plain = names.filter((name): name is string => typeof name === "string" && isPlainFileName(name));
  if (plain.length !== names.length) throw inputError(`${what} names a weight file outside its folder.`);
  return plain.sort();
}
