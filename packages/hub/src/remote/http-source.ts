/**
 * A remote file as a byte source: what is asked for is read by range, in parallel where it is large, straight into the caller's
 * memory. Who reads on in order gets a read-ahead, which grows with what was read and is bounded.
 */
import { allocateBytes, requireByteRange, type ByteSource } from "@subbit/core";
import type { HttpClient } from "../http/client.js";
import { readRange } from "../http/range.js";
import { forEachLimited } from "../http/semaphore.js";
import type { RemoteFile } from "../listing/types.js";
import type { PieceCache } from "./piece-cache.js";

/** What is kept and shared between reads: headers and vectors are smaller than this. */
export const PIECE_BYTES = 256 * 1024;
/** Of one request. */
const REQUEST_BYTES = 8 * 2 ** 20;
const REQUESTS_AT_ONCE = 4;
/** Bytes read in order before anything is read ahead: a header alone is no sign. */
const SEQUENTIAL_BYTES = 2 ** 20;

export interface HttpSourceOptions {
  /** Bytes read ahead at most; 0 for none. */
  readonly readAheadBytes: number;
}

export function httpSource(
  client: HttpClient,
  file: RemoteFile,
  cache: PieceCache,
  { readAheadBytes }: HttpSourceOptions,
): ByteSource {
  let expected = 0;
  let sequential = 0;

  const keyOf = (piece: number): string => `${piece} ${file.url}`;
  const endOf = (piece: number): number => Math.min(file.bytes, (piece + 1) * PIECE_BYTES);

  /** Requests the pieces [first, end) at once; each becomes known to the cache before it is there. */
  const fetchPieces = (first: number, end: number): void => {
    const begin = first * PIECE_BYTES;
    const bytes = new Uint8Array(endOf(end - 1) - begin);
    const whole = readRange(client, file, begin, begin + bytes.byteLength, (chunk, at) =>
      bytes.set(chunk, at - begin),
    );
    for (let piece = first; piece < end; piece++) {
      // A copy: a view would keep the whole request's bytes alive.
      const part = whole.then(() => bytes.slice(piece * PIECE_BYTES - begin, endOf(piece) - begin));
      cache.set(keyOf(piece), part);
    }
  };

  const copyPiece = async (piece: number, offset: number, target: Uint8Array): Promise<void> => {
    if (!cache.has(keyOf(piece))) fetchPieces(piece, piece + 1);
    const bytes = await cache.get(keyOf(piece))!;
    const begin = piece * PIECE_BYTES;
    const from = Math.max(0, offset - begin);
    const to = Math.min(bytes.byteLength, offset + target.byteLength - begin);
    target.set(bytes.subarray(from, to), begin + from - offset);
  };

  const readDirect = (begin: number, end: number, offset: number, target: Uint8Array): Promise<void> =>
    readRange(client, file, begin, end, (chunk, at) => target.set(chunk, at - offset));

  const readAhead = (from: number): void => {
    const wanted = Math.min(readAheadBytes, sequential);
    const last = Math.ceil(Math.min(file.bytes, from + wanted) / PIECE_BYTES);
    let piece = Math.floor(from / PIECE_BYTES);
    while (piece < last) {
      const first = piece;
      while (piece < last && !cache.has(keyOf(piece)) && (piece - first) * PIECE_BYTES < REQUEST_BYTES)
        piece++;
      if (piece > first) fetchPieces(first, piece);
      else piece++;
    }
  };

  const readInto = async (offset: number, target: Uint8Array): Promise<void> => {
    requireByteRange(source, offset, target.byteLength);
    if (target.byteLength === 0) return;
    const end = offset + target.byteLength;
    sequential = offset === expected ? sequential + target.byteLength : target.byteLength;
    expected = end;
    const jobs: (() => Promise<void>)[] = [];
    for (let at = offset; at < end;) {
      const piece = Math.floor(at / PIECE_BYTES);
      // Whole pieces that nobody has asked for yet go to their place without a stop.
      let run = piece;
      while (
        run * PIECE_BYTES >= offset &&
        endOf(run) <= end &&
        run * PIECE_BYTES < end &&
        !cache.has(keyOf(run)) &&
        (run - piece) * PIECE_BYTES < REQUEST_BYTES
      )
        run++;
      if (run - piece > 1) {
        const [from, to] = [at, endOf(run - 1)];
        jobs.push(() => readDirect(from, to, offset, target));
        at = to;
      } else {
        jobs.push(() => copyPiece(piece, offset, target));
        at = endOf(piece);
      }
    }
    if (readAheadBytes > 0 && sequential >= SEQUENTIAL_BYTES) readAhead(end);
    await forEachLimited(jobs, REQUESTS_AT_ONCE, (job) => job());
  };

  const source: ByteSource = {
    name: file.file,
    sizeBytes: file.bytes,
    read: async (offset, length) => {
      requireByteRange(source, offset, length);
      const bytes = allocateBytes(length, `${length} bytes of ${file.name}`);
      await readInto(offset, bytes);
      return bytes;
    },
    readInto,
    close: () => Promise.resolve(),
  };
  return source;
}
