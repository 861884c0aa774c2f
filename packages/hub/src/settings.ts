/** Where models come from and where they are kept, by the environment variables that Hugging Face's tools know and our own. */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { SubbitError } from "@subbit/core";

const DEFAULT_ENDPOINT = "https://huggingface.co";
const DEFAULT_TIMEOUT_SECONDS = 30;

export interface HubSettings {
  /** Origin (and path, where there is one) of the Hub, without a slash at the end. */
  readonly endpoint: string;
  readonly token?: string;
  /** Nothing is asked of the network; only the cache is read. */
  readonly offline: boolean;
  /** Repositories of the Hub, in the layout that Hugging Face's own tools use. */
  readonly hubCache: string;
  /** Folders of other servers. */
  readonly urlCache: string;
  /** A request that brings nothing for so long is given up and made again. */
  readonly stallMs: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_HUB_DOWNLOAD_TIMEOUT` (seconds), and for the place `SUBBIT_CACHE`, `HF_HUB_CACHE`,
 * `HF_HOME`, else the folder that Hugging Face's tools share. Throws `usage` for values that cannot be used.
 */
export function hubSettings(env: Environment = process.env): HubSettings {
  const token = env["HF_TOKEN"]?.trim();
  // What is no visible ASCII cannot stand in a header; the message must not show it.
  if (token && !/^[\x21-\x7e]+$/.test(token)) {
    throw new SubbitError("usage", "HF_TOKEN holds characters that no token has; set it again.");
  }
  return {
    endpoint: endpointOf(env["HF_ENDPOINT"]),
    ...(token && { token }),
    offline: isTrue(env["HF_HUB_OFFLINE"]),
    ...cachesOf(env),
    stallMs: 1000 * secondsOf(env["HF_HUB_DOWNLOAD_TIMEOUT"]),
  };
}

function endpointOf(given: string | undefined): string {
  const text = given?.trim() || DEFAULT_ENDPOINT;
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    url = undefined;
  }
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username || url.search) {
    throw new SubbitError(
      "usage",
      `HF_ENDPOINT is ${text}, but it must be an address such as ${DEFAULT_ENDPOINT}.`,
    );
  }
  return url.href.replace(/\/+$/, "");
}

function isTrue(text: string | undefined): boolean {
  return /^(1|on|yes|true)$/i.test(text?.trim() ?? "");
}

function secondsOf(text: string | undefined): number {
  if (!text?.trim()) return DEFAULT_TIMEOUT_SECONDS;
  const seconds = Number(text);
  if (seconds > 0 && seconds <= 3600) return seconds;
  throw new SubbitError(
    "usage",
    `HF_HUB_DOWNLOAD_TIMEOUT is ${text}, but it must be a number of seconds up to 3600.`,
  );
}

function cachesOf(env: Environment): Pick<HubSettings, "hubCache" | "urlCache"> {
  const own = env["SUBBIT_CACHE"];
  if (own) return { hubCache: resolve(own, "hub"), urlCache: resolve(own, "urls") };
  const home = env["HF_HOME"] || join(env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "huggingface");
  return {
    hubCache: resolve(env["HF_HUB_CACHE"] || join(home, "hub")),
    urlCache: resolve(home, "subbit-urls"),
  };
}
