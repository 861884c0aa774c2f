/** Listing any remote source, and choosing of it what is needed. */
import { SubbitError } from "@subbit/core";
import type { Hub } from "../hub.js";
import type { RemoteSource } from "../source-name.js";
import { chooseFiles, type ChooseOptions } from "./choose.js";
import { listHub } from "./list-hub.js";
import { listUrl } from "./list-url.js";
import { readWhole } from "./read-whole.js";
import type { Listing, RemoteFile } from "./types.js";

/** Throws `usage` when the network may not be used. */
export async function listSource({ client, settings }: Hub, source: RemoteSource): Promise<Listing> {
  if (settings.offline) {
    throw new SubbitError(
      "usage",
      `${source.name} is to be read over the network, but HF_HUB_OFFLINE is set; unset it.`,
    );
  }
  return source.kind === "hub" ? listHub(client, source) : listUrl(client, source);
}

export async function chooseOf(
  { client }: Hub,
  listing: Listing,
  source: RemoteSource,
  { include, exclude }: Omit<ChooseOptions, "file"> = {},
): Promise<RemoteFile[]> {
  const options = {
    ...(include && { include }),
    ...(exclude && { exclude }),
    ...(source.file !== undefined && { file: source.file }),
  };
  const chosen = await chooseFiles(listing, options, (file) => readWhole(client, file));
  return chosen.sort((a, b) => (a.file < b.file ? -1 : 1));
}
