/** What pulling gives. */
import type { OnProgress } from "@subbit/core";
import type { DownloadOptions } from "../download/download-all.js";

export interface PullOptions {
  /** Globs over file names; given, they say alone what is taken. @default what the model needs */
  readonly include?: readonly string[];
  /** Globs of what is left out. */
  readonly exclude?: readonly string[];
  /** Hash again what is there already, and fetch again what is damaged. @default false */
  readonly verify?: boolean;
  readonly onProgress?: OnProgress | undefined;
  /** One sentence for the user. */
  readonly onWarning?: ((sentence: string) => void) | undefined;
  /** What comes again when a process ends in the middle of it. @default 8 MB */
  readonly blockBytes?: number | undefined;
  /** Free bytes of the disk that holds a folder. @default asks the system */
  readonly freeBytes?: DownloadOptions["freeBytes"];
}

export interface PulledFile {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface Pulled {
  /** The folder, or the GGUF file where one was named. */
  readonly path: string;
  /** As the user wrote it. */
  readonly name: string;
  readonly revision: string;
  readonly files: readonly PulledFile[];
  /** What this call brought. */
  readonly downloadedBytes: number;
}
