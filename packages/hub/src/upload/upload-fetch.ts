/**
 * Requests of an upload. Questions, and contents under the name of their hash, may be sent again; a commit may not: it may have
 * been made although its answer was lost.
 */
import { SubbitError } from "@subbit/core";
import { connectionError, hostOf, type HttpClient } from "../http/client.js";
import { hubFetch } from "../http/hub-fetch.js";
import { TransientError, withRetries } from "../http/retry.js";
import { statusError } from "../http/status.js";

const QUESTION = /\/(preupload\/[^/]+|info\/lfs\/objects\/batch)(\?|$)/;

/** Our token goes to the Hub and nowhere else; stores get what the Hub told the library to send there. */
export function uploadFetch(client: HttpClient): typeof fetch {
  const ask = hubFetch(client);
  return async (input, init = {}) => {
    const url = input instanceof Request ? input.url : String(input);
    const method = init.method ?? "GET";
    if (method === "GET" || QUESTION.test(url)) return ask(input, init);
    const headers = new Headers(init.headers);
    // Addresses of stores carry their own permission, and refuse a second one.
    const ours = method === "PUT" ? {} : client.authorization(url);
    for (const [name, value] of Object.entries(ours)) headers.set(name, value);
    // No time limit: a large body takes as long as the line needs.
    const send = async (): Promise<Response> => {
      try {
        return await client.fetch(url, { ...init, headers });
      } catch (error) {
        throw connectionError(error, url);
      }
    };
    if (method === "PUT") {
      return withRetries(`Sending to ${hostOf(url)}`, client.retry, client.signal, async () => {
        const response = await send();
        if (response.status === 429 || response.status >= 500)
          throw statusError(response.status, hostOf(url), response.headers);
        return response;
      });
    }
    try {
      return await send();
    } catch (error) {
      if (!(error instanceof TransientError)) throw error;
      const message = `${hostOf(url)} did not answer the last step, because ${error.message}; look whether it was done, then try again.`;
      throw new SubbitError("network", message, { cause: error });
    }
  };
}
