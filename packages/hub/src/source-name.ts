/** Names of remote sources: `hf:org/name[/file.gguf][@revision]` and addresses of folders or GGUF files. */
import { inputError, isPlainFileName } from "@subbit/core";
import type { HubSettings } from "./settings.js";

export interface HubSource {
  readonly kind: "hub";
  /** As the user wrote it, for messages. */
  readonly name: string;
  /** `org/name`. */
  readonly repo: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
  /** One GGUF file of the repository. */
  readonly file?: string;
}

export interface UrlSource {
  readonly kind: "url";
  readonly name: string;
  /** Ends with a slash; the query goes along with every file. */
  readonly folder: URL;
  readonly file?: string;
}

export type RemoteSource = HubSource | UrlSource;

/** Whether the text names a remote source, well-formed or not. */
export function isRemoteSource(source: string): boolean {
  return /^(hf:|https?:\/\/)/i.test(source);
}

/** Throws `input` for a name that cannot be one. */
export function parseRemoteSource(source: string, settings: Pick<HubSettings, "endpoint">): RemoteSource {
  return /^hf:/i.test(source) ? parseHub(source) : parseUrl(source, settings.endpoint);
}

function parseHub(source: string): HubSource {
  const match = /^hf:([\w][\w.-]*\/[\w][\w.-]*)(?:\/([^/@]+\.gguf))?(?:@([\w][\w./-]*))?$/i.exec(source);
  const [, repo, file, revision = "main"] = match ?? [];
  if (repo === undefined || `${repo}/${revision}`.includes("..") || source.length > 400) {
    throw inputError(
      `${source.slice(0, 200)} is not a name on the Hub; write hf:org/name, hf:org/name@revision or hf:org/name/file.gguf.`,
    );
  }
  return {
    kind: "hub",
    name: source,
    repo,
    revision,
    ...(file !== undefined && { file: plain(file, source) }),
  };
}

function parseUrl(source: string, endpoint: string): RemoteSource {
  let url: URL;
  try {
    url = new URL(source);
  } catch (cause) {
    throw inputError(`${source.slice(0, 200)} is not an address; give https://host/folder.`, { cause });
  }
  if (url.username || url.password) {
    throw inputError(
      "An address with a user name or password was given; those are not sent, leave them out.",
    );
  }
  const hub = hubPage(url, source, endpoint);
  if (hub !== undefined) return hub;
  url.hash = "";
  if (!/\.gguf$/i.test(url.pathname)) {
    if (!url.pathname.endsWith("/")) url.pathname += "/";
    return { kind: "url", name: source, folder: url };
  }
  const at = url.pathname.lastIndexOf("/") + 1;
  const file = plain(decodeURIComponent(url.pathname.slice(at)), source);
  url.pathname = url.pathname.slice(0, at);
  return { kind: "url", name: source, folder: url, file };
}

/** A page of a model on the Hub stands for the model: `https://huggingface.co/org/name[/tree/revision]`. */
function hubPage(url: URL, source: string, endpoint: string): HubSource | undefined {
  const base = `${endpoint}/`;
  if (!url.href.startsWith(base)) return undefined;
  const path = url.href.slice(base.length).replace(/[?#].*$/, "");
  const match =
    /^([\w][\w.-]*\/[\w][\w.-]*)(?:\/(?:tree|resolve|blob)\/([^/]+)(?:\/([^/]+\.gguf))?)?\/?$/i.exec(path);
  if (match === null) return undefined;
  const [, repo, revision = "main", file] = match;
  const named = parseHub(
    `hf:${repo}${file === undefined ? "" : `/${decodeURIComponent(file)}`}@${decodeURIComponent(revision)}`,
  );
  return { ...named, name: source };
}

function plain(file: string, source: string): string {
  if (isPlainFileName(file)) return file;
  throw inputError(
    `${source.slice(0, 200)} names no plain file; give the address of one .gguf file or of a folder.`,
  );
}

/** What to call the model itself: `org/name`, or the last part of an address. */
export function modelName(source: RemoteSource): string {
  if (source.file !== undefined) return source.file;
  if (source.kind === "hub") return source.repo;
  const parts = source.folder.pathname.split("/").filter((part) => part !== "");
  return parts.at(-1) ?? source.folder.host;
}
