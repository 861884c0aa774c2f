/** Files as `torch.save` writes them, streamed tensor by tensor. Same tensors in the same order = same bytes. */
import { throwIfAborted } from "../../errors.js";
import { tensorData, type TensorToWrite } from "../safetensors/encode.js";
import { ARCHIVE_VERSION, encodeStateDict } from "./encode.js";

export interface WritePickleOptions {
  /** The folder inside the zip file, by torch the file's name without ending. */
  readonly root: string;
  /** Called with the bytes of each tensor that was written. @default none */
  readonly onBytes?: (bytes: number) => void;
  /** @default none */
  readonly signal?: AbortSignal | undefined;
}

/** Writes the tensors to `sink`, each fetched only when its turn comes; closes it. Throws `usage` for bad declarations. */
export async function writePickle(
  sink: WritableStream<Uint8Array>,
  tensors: readonly TensorToWrite[],
  { root, onBytes, signal }: WritePickleOptions,
): Promise<void> {
  const { ZipWriter, Uint8ArrayReader, configure } = await import("@zip.js/zip.js");
  configure({ useWebWorkers: false });
  const zip = new ZipWriter(sink, {
    level: 0,
    // What a file holds must not depend on when it was written; this is the first date that zip files have.
    lastModDate: new Date(1980, 0, 1),
    extendedTimestamp: false,
  });
  const add = async (name: string, bytes: Uint8Array): Promise<void> => {
    await zip.add(`${root}/${name}`, new Uint8ArrayReader(bytes));
  };
  const text = new TextEncoder();
  // Torch expects the pickle first.
  await add("data.pkl", encodeStateDict(tensors));
  await add("byteorder", text.encode("little"));
  for (const [index, tensor] of tensors.entries()) {
    throwIfAborted(signal);
    const data = await tensorData(tensor);
    await add(`data/${index}`, data);
    onBytes?.(data.length);
  }
  await add("version", text.encode(ARCHIVE_VERSION));
  await zip.close();
}
