/** Listing a repository of the Hub, by way of @huggingface/hub: the commit of a revision, and its files with their hashes. */
import { SubbitError, inputError, isPlainFileName } from "@subbit/core";
import type { HttpClient } from "../http/client.js";
import { hubFetch, hubFailure } from "../http/hub-fetch.js";
import type { HubSource } from "../source-name.js";
import type { Listing, Promised, RemoteFile } from "./types.js";

/** Entries of a repository's top folder that are looked at (CWE-770). */
const MAX_FILES = 10_000;

/** One or two small requests. Throws `input` for what is not there or may not be read, `network` for the rest. */
export async function listHub(client: HttpClient, source: HubSource): Promise<Listing> {
  const { modelInfo, listFiles } = await import("@huggingface/hub");
  const { repo, revision, name } = source;
  const access = { hubUrl: client.endpoint, fetch: hubFetch(client) };
  try {
    const { sha } = await modelInfo({ name: repo, revision, additionalFields: ["sha"], ...access });
    if (!isHex(sha, 40)) throw inputError(`${client.endpoint} names no commit for ${name}; it is not a Hub.`);
    const files: RemoteFile[] = [];
    let seen = 0;
    for await (const entry of listFiles({ repo, revision: sha, ...access })) {
      if (++seen > MAX_FILES)
        throw inputError(`${name} lists more than ${MAX_FILES} files, which are not looked at.`);
      if (entry.type === "file" && isPlainFileName(entry.path))
        files.push(fileOf(client, source, sha, entry));
    }
    return { name, revision: sha, files };
  } catch (error) {
    throw await hubFailure(error, name);
  }
}

interface HubEntry {
  readonly path: string;
  readonly size: number;
  readonly oid?: string;
  readonly lfs?: { readonly oid: string; readonly size: number };
}

function fileOf(client: HttpClient, { repo, name }: HubSource, commit: string, entry: HubEntry): RemoteFile {
  const { path, lfs, oid } = entry;
  const bytes = lfs?.size ?? entry.size;
  const promised: Promised | undefined = isHex(lfs?.oid, 64)
    ? { algorithm: "sha256", hex: lfs.oid }
    : lfs === undefined && isHex(oid, 40)
      ? { algorithm: "git-sha1", hex: oid }
      : undefined;
  if (promised === undefined || !Number.isSafeInteger(bytes) || bytes < 0) {
    throw new SubbitError(
      "network",
      `${client.endpoint} lists ${path} of ${name} without a size and hash; it is not a Hub.`,
    );
  }
  const url = `${client.endpoint}/${repo}/resolve/${commit}/${encodeURIComponent(path)}`;
  return { file: path, name: `${path} of ${name}`, url, bytes, id: promised.hex, promised };
}

function isHex(text: unknown, length: number): text is string {
  return typeof text === "string" && text.length === length && /^[0-9a-f]+$/.test(text);
}
