/**
 * The directory of a zip file whose entries are stored as they are (torch never compresses): where the bytes of each
 * entry lie, so that they can be read by range. The directory itself is parsed by zip.js, loaded when it is first needed.
 */
import { SubbitError, inputError } from "../../errors.js";
import { MAX_TENSORS, MAX_ZIP_DIRECTORY_BYTES } from "../limits.js";
import type { ByteSource } from "../types.js";

export interface StoredEntry {
  /** Path in the zip file. */
  readonly name: string;
  /** Its first byte in the file. */
  readonly offset: number;
  readonly bytes: number;
}

/** Before the name and the extra field of an entry. */
const LOCAL_HEADER_BYTES = 30;
const LOCAL_HEADER_SIGNATURE = 0x04034b50;
const NOT_COMPRESSED = 0;

/**
 * The entries of a zip file, in the order of its directory, without folders. Throws `input` for what is no zip file,
 * for compressed or encrypted entries, and for entries that reach beyond the file.
 */
export async function readZipDirectory(source: ByteSource): Promise<StoredEntry[]> {
  const found: { name: string; header: number; bytes: number }[] = [];
  try {
    const { ZipReader, Reader, configure } = await import("@zip.js/zip.js");
    configure({ useWebWorkers: false });
    class SourceReader extends Reader<ByteSource> {
      constructor() {
        super(source);
        this.size = source.sizeBytes;
      }
      override async readUint8Array(offset: number, length: number): Promise<Uint8Array> {
        if (length > MAX_ZIP_DIRECTORY_BYTES) throw tooLarge(source);
        const available = Math.max(0, Math.min(length, source.sizeBytes - offset));
        return available === 0 ? new Uint8Array() : source.read(offset, available);
      }
    }
    for await (const entry of new ZipReader(new SourceReader()).getEntriesGenerator()) {
      if (entry.directory) continue;
      if (found.length >= MAX_TENSORS) throw tooLarge(source);
      if (entry.encrypted || entry.compressionMethod !== NOT_COMPRESSED) {
        throw inputError(
          `The entry ${entry.filename.slice(0, 100)} of ${source.name} is compressed or encrypted, which torch never does; save the file again with torch.`,
        );
      }
      found.push({ name: entry.filename, header: entry.offset, bytes: entry.uncompressedSize });
    }
  } catch (error) {
    if (error instanceof SubbitError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw inputError(
      `${source.name} is no readable zip file (${reason.slice(0, 100)}), which torch files are since torch 1.6; it is truncated, damaged, or in torch's old format.`,
      { cause: error },
    );
  }
  const entries: StoredEntry[] = [];
  for (const { name, header, bytes } of found) {
    const offset = await dataOffset(source, name, header);
    if (!(offset + bytes <= source.sizeBytes)) throw damaged(source, name);
    entries.push({ name, offset, bytes });
  }
  return entries;
}

/** An entry's own header may have another extra field than the directory has: torch aligns its data by it. */
async function dataOffset(source: ByteSource, name: string, header: number): Promise<number> {
  if (!(header + LOCAL_HEADER_BYTES <= source.sizeBytes)) throw damaged(source, name);
  const bytes = await source.read(header, LOCAL_HEADER_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== LOCAL_HEADER_SIGNATURE) throw damaged(source, name);
  return header + LOCAL_HEADER_BYTES + view.getUint16(26, true) + view.getUint16(28, true);
}

function damaged(source: ByteSource, name: string): SubbitError {
  return inputError(
    `The directory of ${source.name} says where ${name.slice(0, 100)} lies, but it does not lie there; the file is damaged.`,
  );
}

function tooLarge(source: ByteSource): SubbitError {
  return inputError(
    `The directory of ${source.name} has more than ${MAX_TENSORS} entries or ${MAX_ZIP_DIRECTORY_BYTES} bytes; it is no file of tensors.`,
  );
}
