/** Compressed text files: gzip by Node's zlib, Zstandard by fzstd (Node 20 has none), never above a bound. */
import { constants, createGunzip } from "node:zlib";
import { inputError, SubbitError } from "../errors.js";

/** Bytes of a text: about the longest string that V8 holds. A small file may claim to hold far more. */
export const MAX_TEXT_BYTES = 2 ** 29 - 2 ** 10;
/** Compressed bytes that are handed over at once, so that the bound is looked at in between. */
const PIECE_BYTES = 2 ** 16;

export function isCompressedName(path: string): boolean {
  return /\.(gz|zst)$/i.test(path);
}

/** The bytes inside a .gz or .zst file. Throws `input` when it is damaged or holds more than `maxBytes`. */
export async function decompressText(
  bytes: Uint8Array,
  path: string,
  maxBytes: number = MAX_TEXT_BYTES,
): Promise<Buffer> {
  const collected = new Collected(path, maxBytes);
  try {
    // An empty stream would be an empty text.
    if (bytes.length === 0) throw new Error("the file is empty");
    await (/\.gz$/i.test(path) ? gunzip(bytes, collected) : unzstd(bytes, collected));
  } catch (cause) {
    if (cause instanceof SubbitError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw inputError(
      `${path} cannot be decompressed (${reason}); it is damaged, make or download it again.`,
      {
        cause,
      },
    );
  }
  return collected.joined();
}

class Collected {
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #parts: Uint8Array[] = [];
  #bytes = 0;

  constructor(path: string, maxBytes: number) {
    this.#path = path;
    this.#maxBytes = maxBytes;
  }

  add(part: Uint8Array): void {
    this.#bytes += part.length;
    if (this.#bytes > this.#maxBytes) {
      throw inputError(
        `${this.#path} holds more than the ${this.#maxBytes} bytes of text that one file may have; split it.`,
      );
    }
    this.#parts.push(part);
  }

  joined(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

async function gunzip(bytes: Uint8Array, collected: Collected): Promise<void> {
  const stream = createGunzip({ finishFlush: constants.Z_FINISH });
  const ended = (async () => {
    for await (const part of stream) collected.add(part as Buffer);
  })();
  stream.end(bytes);
  await ended;
}

async function unzstd(bytes: Uint8Array, collected: Collected): Promise<void> {
  const { Decompress } = await import("fzstd");
  let whole = false;
  const stream = new Decompress((part, final) => {
    // The library goes on writing into its buffer.
    collected.add(part.slice());
    whole ||= final === true;
  });
  for (let at = 0; at < bytes.length || at === 0; at += PIECE_BYTES) {
    stream.push(bytes.subarray(at, at + PIECE_BYTES), at + PIECE_BYTES >= bytes.length);
  }
  if (!whole) throw new Error("unexpected end of file");
}
