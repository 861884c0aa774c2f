/** Types of model-server.mjs. */
export interface ServedContent {
  readonly bytes: number;
  /** The bytes [offset, offset + length). */
  at(offset: number, length: number): Uint8Array;
  /** Needed where the file is listed by the Hub's interface. */
  readonly sha256?: string;
}
export type ServedFile = Uint8Array | ServedContent;

export type Fault =
  | { readonly kind: "cut"; readonly after: number }
  | { readonly kind: "stall"; readonly after: number }
  | { readonly kind: "slow"; readonly milliseconds: number }
  | { readonly kind: "status"; readonly status: number }
  | { readonly kind: "shift" }
  | { readonly kind: "longer" }
  | { readonly kind: "shorter" }
  | { readonly kind: "corrupt" }
  | { readonly kind: "whole" }
  | { readonly kind: "no-length" }
  | { readonly kind: "other-size" }
  | { readonly kind: "gzip" };

export interface ServedRequest {
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

export interface ModelServerOptions {
  /** Repositories by `org/name`, of files by name. */
  readonly repos?: Readonly<Record<string, Readonly<Record<string, ServedFile>>>>;
  /** Folders by path without slashes at the ends, served as a plain web server does. */
  readonly folders?: Readonly<Record<string, Readonly<Record<string, ServedFile>>>>;
  /** What to do wrong with a request for a file. */
  readonly fault?: (request: ServedRequest) => Fault | undefined;
  /** Token that the repositories want. */
  readonly token?: string;
}

export interface ModelServer {
  readonly url: string;
  readonly requests: readonly ServedRequest[];
  /** Bytes of file contents that were sent. */
  readonly bytesSent: number;
  /** Commits that were pushed, by `org/name`. */
  readonly pushed: ReadonlyMap<string, ReadonlyMap<string, Buffer>>;
  close(): Promise<void>;
}

export function commitOf(repo: string): string;
export function startModelServer(options: ModelServerOptions): Promise<ModelServer>;
