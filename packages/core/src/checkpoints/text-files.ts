/** Side files of a checkpoint, read whole as text. */
import { inputError } from "../errors.js";
import { isPlainFileName } from "./file-names.js";
import { decodeUtf8 } from "./json.js";
import { MAX_TEXT_BYTES } from "./limits.js";
import type { FileSet } from "./types.js";

/** The file's text; `undefined` when there is no such file. */
export async function readTextFile(files: FileSet, fileName: string): Promise<string | undefined> {
  if (!isPlainFileName(fileName)) return undefined;
  const source = await files.open(fileName);
  if (source === undefined) return undefined;
  try {
    if (source.sizeBytes > MAX_TEXT_BYTES) {
      throw inputError(
        `${fileName} of ${files.name} has ${source.sizeBytes} bytes, where at most ${MAX_TEXT_BYTES} are read as text.`,
      );
    }
    return decodeUtf8(await source.read(0, source.sizeBytes), `${fileName} of ${files.name}`);
  } finally {
    await source.close();
  }
}
