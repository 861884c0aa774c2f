/** @huggingface/hub over our client: its requests get our token, time limits and retries, and its errors become sentences. */
import { SubbitError } from "@subbit/core";
import { hostOf, type HttpClient } from "./client.js";
import { TransientError, withRetries } from "./retry.js";
import { statusError } from "./status.js";

/** For requests whose answers are small; they are read whole, so that a stall in the body is seen too. */
export function hubFetch(client: HttpClient): typeof fetch {
  return async (input, init = {}) => {
    const url = input instanceof Request ? input.url : String(input);
    return withRetries(`Asking ${hostOf(url)}`, client.retry, client.signal, async () => {
      const headers = Object.fromEntries(new Headers(init.headers));
      const response = await client.open(url, headers, init);
      const { status } = response;
      if (status === 429 || status >= 500) {
        response.cancel();
        throw statusError(status, url, response.headers);
      }
      const body = await client.readAll(response, `The answer of ${hostOf(url)}`);
      const bodiless = status === 204 || status === 304;
      return new Response(bodiless ? null : (body as Uint8Array<ArrayBuffer>), {
        status,
        headers: response.headers,
      });
    });
  };
}

/** What @huggingface/hub threw, as one of our errors. */
export async function hubFailure(error: unknown, what: string): Promise<unknown> {
  const { HubApiError } = await import("@huggingface/hub");
  if (error instanceof HubApiError) {
    const mapped = statusError(error.statusCode, what);
    if (!(mapped instanceof TransientError)) return mapped;
    return new SubbitError("network", `${what} could not be read: ${mapped.message}.`, { cause: error });
  }
  if (error instanceof SubbitError) return error;
  // Its answers were not what the library reads.
  const reason = error instanceof Error ? error.message.replace(/\s+/g, " ").slice(0, 150) : String(error);
  return new SubbitError("network", `${what} could not be read: the answer was not the Hub's (${reason}).`, {
    cause: error,
  });
}
