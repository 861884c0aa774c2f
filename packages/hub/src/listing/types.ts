/** What a remote folder holds. */
import type { RemoteBytes } from "../http/range.js";

/** How the server says what a file's bytes must be. */
export interface Promised {
  /** `git-sha1` is git's: of `blob <size>`, a zero byte and the content. */
  readonly algorithm: "sha256" | "git-sha1";
  readonly hex: string;
}

export interface RemoteFile extends RemoteBytes {
  /** Plain file name. */
  readonly file: string;
  /** Same id, same bytes: names the file in the cache. */
  readonly id: string;
  /** Absent where the server promises nothing. */
  readonly promised?: Promised;
}

export interface Listing {
  /** What users call the source. */
  readonly name: string;
  /** The commit on the Hub; elsewhere a fingerprint of the files' validators. */
  readonly revision: string;
  readonly files: readonly RemoteFile[];
}
