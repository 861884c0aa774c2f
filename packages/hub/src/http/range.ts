/** Bytes [begin, end) of a remote file, checked to be those: servers and proxies answer with other ranges, and cut them short. */
import { inputError } from "@subbit/core";
import type { HttpClient, OpenResponse } from "./client.js";
import { TransientError, withRetries } from "./retry.js";
import { statusError } from "./status.js";

/** What a range is read of. */
export interface RemoteBytes {
  /** For messages. */
  readonly name: string;
  readonly url: string;
  readonly bytes: number;
  /** A strong validator: the file is the same as long as the server answers with it. */
  readonly etag?: string;
}

/** The server answers with whole files only. */
export class NoRangesError extends Error {}

/**
 * Gives the bytes to `sink` in order, each once, whatever is cut in between. Throws `NoRangesError` where the server knows no
 * ranges and the file is larger than what was asked; `input` where the file is another one by now; `network` after all tries.
 */
export async function readRange(
  client: HttpClient,
  file: RemoteBytes,
  begin: number,
  end: number,
  sink: (chunk: Uint8Array, offset: number) => Promise<void> | void,
): Promise<void> {
  let at = begin;
  await withRetries(`Reading ${file.name}`, client.retry, client.signal, () =>
    client.connections.run(async () => {
      if (at === end) return;
      const response = await client.open(file.url, { range: `bytes=${at}-${end - 1}` });
      try {
        const whole = checkAnswer(response, file, at, end);
        if (whole && (begin > 0 || end < file.bytes))
          throw new NoRangesError(`${file.name} is served whole only`);
        // A whole file begins at its beginning; what stands already is the same and is skipped.
        let from = whole ? 0 : at;
        for await (const chunk of response.chunks()) {
          if (from + chunk.byteLength > end) {
            throw new TransientError(
              `the server sent more than the bytes ${at} to ${end - 1} that were asked for`,
            );
          }
          const fresh = chunk.subarray(Math.max(0, Math.min(chunk.byteLength, at - from)));
          from += chunk.byteLength;
          if (fresh.byteLength === 0) continue;
          await sink(fresh, at);
          at += fresh.byteLength;
        }
      } finally {
        response.cancel();
      }
      if (at < end) throw new TransientError(`the connection was cut ${end - at} bytes before the end`);
    }),
  );
}

/** Whether the answer is the whole file. Throws for everything that is not what was asked. */
function checkAnswer(response: OpenResponse, file: RemoteBytes, begin: number, end: number): boolean {
  const { status, headers } = response;
  if (status === 416 || status === 412) throw changed(file);
  if (status !== 200 && status !== 206) throw statusError(status, file.name, headers);
  const etag = headers.get("etag");
  if (file.etag !== undefined && etag !== null && etag !== file.etag) throw changed(file);
  if (status === 200) {
    const length = headers.get("content-length");
    if (length !== null && Number(length) !== file.bytes) throw changed(file);
    return true;
  }
  const told = headers.get("content-range") ?? "nothing";
  const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(told.trim());
  const [from, to, total] = match === null ? [NaN, NaN, "*"] : [Number(match[1]), Number(match[2]), match[3]];
  if (total !== "*" && Number(total) !== file.bytes) throw changed(file);
  // A server may give less than was asked, from the same beginning; the rest is asked for again.
  if (from !== begin || !(to >= begin && to < end)) {
    throw new TransientError(
      `bytes ${begin}-${end - 1} were asked for, but the server answered with ${told.slice(0, 80)}`,
    );
  }
  return false;
}

function changed(file: RemoteBytes): Error {
  return inputError(
    `${file.name} is not the file it was (${file.bytes} bytes) any more; run the same command again.`,
  );
}
