/** What an HTTP status means for whoever asked for a model. */
import { SubbitError, inputError } from "@subbit/core";
import { TransientError } from "./retry.js";

/** The error for a status that is not the one that was hoped for. `what` begins a sentence. */
export function statusError(status: number, what: string, headers?: Headers): Error {
  switch (status) {
    case 401:
    case 403:
      return inputError(
        `${what} may not be read (status ${status}); set HF_TOKEN to a token that may, and accept the model's terms on its page if it has some.`,
      );
    case 404:
    case 410:
      return inputError(
        `${what} does not exist, or only for those who may see it; check the name, or set HF_TOKEN.`,
      );
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504: {
      const waitMs = retryAfterMs(headers?.get("retry-after") ?? null);
      return new TransientError(
        `the server answered with status ${status}`,
        waitMs === undefined ? {} : { waitMs },
      );
    }
    default:
      return new SubbitError(
        "network",
        `${what} was asked for, but the server answered with status ${status}; check the address.`,
      );
  }
}

/** Seconds, or a date. */
function retryAfterMs(text: string | null): number | undefined {
  if (text === null) return undefined;
  const milliseconds = /^\d+$/.test(text.trim()) ? 1000 * Number(text) : Date.parse(text) - Date.now();
  return Number.isFinite(milliseconds) && milliseconds > 0 ? milliseconds : undefined;
}
