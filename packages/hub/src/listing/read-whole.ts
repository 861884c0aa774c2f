/** A small remote file as text. */
import { inputError } from "@subbit/core";
import type { HttpClient } from "../http/client.js";
import { readRange } from "../http/range.js";
import type { RemoteFile } from "./types.js";

/** Indices of the largest models have some megabytes (CWE-789). */
const MAX_BYTES = 64_000_000;

export async function readWhole(client: HttpClient, file: RemoteFile): Promise<string> {
  if (file.bytes > MAX_BYTES)
    throw inputError(`${file.name} has ${file.bytes} bytes, where at most ${MAX_BYTES} are read.`);
  const bytes = new Uint8Array(file.bytes);
  await readRange(client, file, 0, file.bytes, (chunk, offset) => bytes.set(chunk, offset));
  return new TextDecoder().decode(bytes);
}
