/** One file: its missing blocks in parallel, then the hash of the whole, then its name. */
import { createHash } from "node:crypto";
import { rename } from "node:fs/promises";
import { inputError, throwIfAborted } from "@subbit/core";
import type { HttpClient } from "../http/client.js";
import { NoRangesError, readRange } from "../http/range.js";
import { forEachLimited } from "../http/semaphore.js";
import type { Promised, RemoteFile } from "../listing/types.js";
import { PartFile, removePart } from "./part-file.js";

const BLOCKS_AT_ONCE = 4;
/** A wrong hash may be a passing fault of the way; twice it is none. */
const TRIES = 2;

export interface FileCallbacks {
  /** Bytes that are there; may fall when something has to come again. */
  readonly onBytes: (done: number) => void;
  /** Bytes of the last pass, which hashes. */
  readonly onHashed: (bytes: number) => void;
}

/**
 * Fetches `file` to `target`, going on where an earlier call was stopped. Returns the sha256. Throws `input` when the bytes are
 * not the promised ones (nothing is kept then), `network` when they do not come (what came is kept beside).
 */
export async function downloadFile(
  client: HttpClient,
  file: RemoteFile,
  target: string,
  callbacks: FileCallbacks,
  blockBytes?: number,
): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    const { id, bytes } = file;
    const part = await PartFile.open(target, { id, bytes, blockBytes, signal: client.signal });
    let found: Hashes;
    try {
      await fill(client, file, part, callbacks);
      found = await hashesOf(part, client.signal, callbacks);
      await part.sync();
    } finally {
      await part.close();
    }
    if (file.promised === undefined || found[file.promised.algorithm] === file.promised.hex) {
      await rename(`${target}.part`, target);
      await removePart(target);
      return found.sha256;
    }
    await removePart(target);
    callbacks.onBytes(0);
    if (attempt === TRIES) throw mismatch(file, file.promised, found);
  }
}

async function fill(
  client: HttpClient,
  file: RemoteFile,
  part: PartFile,
  { onBytes }: FileCallbacks,
): Promise<void> {
  const missing = part.missing();
  let done = part.doneBytes;
  onBytes(done);
  const report = (bytes: number): void => onBytes((done += bytes));
  const fetchBlock = (block: number): Promise<void> => fetchBlocks(client, file, part, [block], report);
  if (missing.length === 0) return;
  try {
    // The first tells whether there are ranges; the others need not wait in vain.
    await fetchBlock(missing[0]);
    await forEachLimited(missing.slice(1), BLOCKS_AT_ONCE, fetchBlock);
  } catch (error) {
    if (!(error instanceof NoRangesError)) throw error;
    done = 0;
    onBytes(0);
    const all = Array.from({ length: part.blocks }, (_, block) => block);
    await fetchBlocks(client, file, part, all, report);
  }
}

/** Neighbouring blocks in one request. */
async function fetchBlocks(
  client: HttpClient,
  file: RemoteFile,
  part: PartFile,
  blocks: readonly number[],
  report: (bytes: number) => void,
): Promise<void> {
  const begin = part.begin(blocks[0]);
  const end = part.end(blocks[blocks.length - 1]);
  let next = 0;
  let hash = createHash("sha256");
  await readRange(client, file, begin, end, async (chunk, offset) => {
    await part.write(chunk, offset);
    for (let at = 0; at < chunk.byteLength;) {
      const block = blocks[next];
      const take = Math.min(chunk.byteLength - at, part.end(block) - (offset + at));
      hash.update(chunk.subarray(at, at + take));
      at += take;
      if (offset + at < part.end(block)) continue;
      await part.finish(block, hash.digest("hex"));
      hash = createHash("sha256");
      next++;
    }
    report(chunk.byteLength);
  });
}

type Hashes = Readonly<Record<Promised["algorithm"], string>>;

async function hashesOf(
  part: PartFile,
  signal: AbortSignal | undefined,
  { onHashed }: FileCallbacks,
): Promise<Hashes> {
  const sha256 = createHash("sha256");
  const git = createHash("sha1").update(`blob ${part.bytes}\0`);
  for await (const piece of part.pieces()) {
    throwIfAborted(signal);
    sha256.update(piece);
    git.update(piece);
    onHashed(piece.byteLength);
  }
  return { sha256: sha256.digest("hex"), "git-sha1": git.digest("hex") };
}

function mismatch(file: RemoteFile, { algorithm, hex }: Promised, found: Hashes): Error {
  return inputError(
    `${file.name} came with ${algorithm} ${found[algorithm]} twice, but ${hex} was promised; the server or the way to it damages it, nothing was kept.`,
  );
}
