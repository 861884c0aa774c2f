/** Whether a server without listings has a file, and how large it is. */
import { createHash } from "node:crypto";
import { inputError } from "@subbit/core";
import type { HttpClient } from "../http/client.js";
import { withRetries } from "../http/retry.js";
import { statusError } from "../http/status.js";
import type { RemoteFile } from "./types.js";

/** Answers that mean "no such file"; stores without listings say 403 for that. */
const MISSING: ReadonlySet<number> = new Set([403, 404, 410]);

/** Reads one byte, as some servers refuse HEAD; `undefined` where there is no such file. */
export async function probeFile(
  client: HttpClient,
  folder: URL,
  file: string,
): Promise<RemoteFile | undefined> {
  const url = new URL(encodeURIComponent(file), folder);
  url.search = folder.search;
  const name = `${file} of ${folder.host}${folder.pathname}`;
  return withRetries(`Asking for ${name}`, client.retry, client.signal, () =>
    client.connections.run(async () => {
      const response = await client.open(url.href, { range: "bytes=0-0" });
      try {
        const { status, headers } = response;
        if (MISSING.has(status)) return undefined;
        // An empty file has no first byte.
        const bytes = status === 416 ? sizeOfEmpty(headers) : sizeOf(status, headers);
        if (status !== 200 && status !== 206 && bytes !== 0) throw statusError(status, name, headers);
        // Sites that answer every address with their page.
        if (headers.get("content-type")?.startsWith("text/html")) return undefined;
        if (bytes === undefined)
          throw inputError(
            `The server does not say how large ${name} is; download the folder by other means.`,
          );
        const etag = headers.get("etag");
        const strong = etag !== null && !etag.startsWith("W/");
        const id = createHash("sha256")
          .update(JSON.stringify([url.href, etag, headers.get("last-modified"), bytes]))
          .digest("hex");
        return { file, name, url: url.href, bytes, id, ...(strong && { etag }) };
      } finally {
        response.cancel();
      }
    }),
  );
}

function sizeOf(status: number, headers: Headers): number | undefined {
  const text =
    status === 206 ? /\/(\d+)$/.exec(headers.get("content-range") ?? "")?.[1] : headers.get("content-length");
  const bytes = text === null || text === undefined ? NaN : Number(text);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

function sizeOfEmpty(headers: Headers): number | undefined {
  return /\*\/0$/.test(headers.get("content-range") ?? "") ? 0 : undefined;
}
