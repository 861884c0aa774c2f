/** Names that files of a checkpoint may have. */
import { inputError } from "../errors.js";

/** True for a name that stays inside its folder: no separator, no drive, no dot folder, no control character (CWE-22). */
export function isPlainFileName(name: string): boolean {
  return (
    name.length > 0 &&
    name.length <= 255 &&
    name !== "." &&
    name !== ".." &&
    !/[/\\:\u0000-\u001f]/.test(name)
  );
}

/** Throws `input` unless the name stays inside its folder. */
export function requirePlainFileName(name: string, from: string): void {
  if (!isPlainFileName(name)) {
    throw inputError(
      `${from} names the file ${JSON.stringify(name.slice(0, 100))}, which is not a plain file name; ` +
        `files of a checkpoint must lie in its own folder.`,
    );
  }
}
