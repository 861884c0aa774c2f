/** HTTP requests that cannot hang: every wait for the server is bounded, and failures are sorted into passing and final ones. */
import { SubbitError, inputError, throwIfAborted } from "@subbit/core";
import type { HubSettings } from "../settings.js";
import { TransientError, type RetryPolicy } from "./retry.js";
import { Semaphore } from "./semaphore.js";

export interface HttpClientOptions extends Pick<HubSettings, "endpoint" | "token" | "stallMs"> {
  /** @default 6 attempts, from half a second on */
  readonly retry?: RetryPolicy;
  /** Requests that are open at once. @default 8 */
  readonly connections?: number;
  /** @default the platform's */
  readonly fetch?: typeof fetch;
  readonly signal?: AbortSignal | undefined;
}

/** A response whose body is read through `chunks`, which ends the request whatever happens. */
export interface OpenResponse {
  readonly status: number;
  readonly headers: Headers;
  /** Pieces of the body as they come; throws `TransientError` where it is cut or stalls. */
  chunks(): AsyncGenerator<Uint8Array>;
  /** Ends the request without reading on. */
  cancel(): void;
}

const DEFAULT_CONNECTIONS = 8;
/** A text that is read whole: listings, indices, configurations. */
const MAX_WHOLE_BYTES = 256_000_000;

export class HttpClient {
  readonly endpoint: string;
  readonly retry: RetryPolicy;
  readonly signal: AbortSignal | undefined;
  readonly connections: Semaphore;
  readonly fetch: typeof fetch;
  readonly #options: HttpClientOptions;

  constructor(options: HttpClientOptions) {
    this.#options = options;
    this.endpoint = options.endpoint;
    this.retry = options.retry ?? {};
    this.signal = options.signal;
    this.fetch = options.fetch ?? ((input, init) => fetch(input, init));
    this.connections = new Semaphore(options.connections ?? DEFAULT_CONNECTIONS);
  }

  /** The headers have come. Throws `TransientError`, `interrupted`, or `input` where the way is not safe. */
  async open(
    url: string,
    headers: Readonly<Record<string, string>> = {},
    init: RequestInit = {},
  ): Promise<OpenResponse> {
    const { stallMs, signal } = this.#options;
    throwIfAborted(signal);
    const abort = new AbortController();
    let stalled = false;
    const stall = (): void => {
      stalled = true;
      abort.abort();
    };
    let timer = setTimeout(stall, stallMs);
    const stop = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    const onAbort = (): void => abort.abort();
    signal?.addEventListener("abort", onAbort);
    const failure = (error: unknown): unknown => {
      stop();
      abort.abort();
      if (signal?.aborted)
        return new SubbitError("interrupted", "Interrupted; what was done so far is kept.", { cause: error });
      if (stalled) return new TransientError(`${hostOf(url)} sent nothing for ${stallMs / 1000} s`);
      return error instanceof SubbitError ? error : connectionError(error, url);
    };
    try {
      const response = await this.fetch(url, {
        ...init,
        // Ranges count bytes as stored; a proxy that compresses would shift them.
        headers: { ...headers, "accept-encoding": "identity", ...this.authorization(url) },
        signal: abort.signal,
        redirect: "follow",
      });
      requireSafe(url, response);
      const restart = (): void => {
        clearTimeout(timer);
        timer = setTimeout(stall, stallMs);
      };
      return {
        status: response.status,
        headers: response.headers,
        chunks: () =>
          bodyChunks(response, {
            restart,
            pause: () => clearTimeout(timer),
            stop,
            failure,
            abort: () => abort.abort(),
          }),
        cancel: () => {
          stop();
          abort.abort();
        },
      };
    } catch (error) {
      throw failure(error);
    }
  }

  /** The whole body, of bounded size. */
  async readAll(response: OpenResponse, what: string): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of response.chunks()) {
      parts.push(chunk);
      bytes += chunk.byteLength;
      if (bytes > MAX_WHOLE_BYTES)
        throw inputError(`${what} has more than ${MAX_WHOLE_BYTES} bytes, which are not read whole.`);
    }
    return Buffer.concat(parts);
  }

  /** The header with the token: for the Hub that was set and for nobody else. */
  authorization(url: string): Readonly<Record<string, string>> {
    const { token } = this.#options;
    if (!token || new URL(url).origin !== new URL(this.endpoint).origin) return {};
    return { authorization: `Bearer ${token}` };
  }
}

interface Guard {
  /** The server's turn begins. */
  restart(): void;
  /** It ends: what the reader does with a chunk takes as long as it takes. */
  pause(): void;
  stop(): void;
  abort(): void;
  failure(error: unknown): unknown;
}

async function* bodyChunks(response: Response, guard: Guard): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  let whole = reader === undefined;
  try {
    while (!whole) {
      guard.restart();
      const next = await reader!.read().catch((error: unknown) => {
        throw guard.failure(error);
      });
      guard.pause();
      if (next.done) whole = true;
      else yield next.value;
    }
  } finally {
    guard.stop();
    if (!whole) guard.abort();
  }
}

/** From TLS to plain text on the way is refused: whoever sits there could send anything. */
function requireSafe(url: string, response: Response): void {
  if (url.startsWith("https:") && response.url.startsWith("http:")) {
    throw inputError(`${hostOf(url)} redirects to an address without encryption; that is not followed.`);
  }
  const encoding = response.headers.get("content-encoding");
  if (encoding !== null && encoding !== "identity") {
    throw new TransientError(
      `${hostOf(url)} answered with ${encoding.slice(0, 20)} encoding, which was not asked for`,
    );
  }
}

const ABSENT_ATTEMPTS = 3;
const FINAL_TLS = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ERR_TLS/;

/** What `fetch` throws hides its reason in the cause. */
export function connectionError(error: unknown, url: string): unknown {
  if (!(error instanceof Error) || error instanceof TransientError) return error;
  const cause = error.cause instanceof Error ? error.cause : error;
  const code = (cause as NodeJS.ErrnoException).code ?? "";
  const host = hostOf(url);
  if (FINAL_TLS.test(code)) {
    return new SubbitError(
      "network",
      `The certificate of ${host} was not accepted (${code}); check the address and the clock.`,
      { cause: error },
    );
  }
  if (code === "ERR_INVALID_URL")
    return inputError(`${url.slice(0, 200)} is not an address.`, { cause: error });
  // Who is not there at all rarely comes within seconds.
  const absent = (reason: string) => new TransientError(reason, { cause: error, attempts: ABSENT_ATTEMPTS });
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return absent(`the name ${host} was not found`);
  if (code === "ECONNREFUSED") return absent(`${host} refused the connection`);
  const reason = cause.message.replace(/\s+/g, " ").slice(0, 100);
  return new TransientError(`the connection to ${host} broke (${reason})`, { cause: error });
}

export function hostOf(url: string): string {
  return new URL(url).host;
}
