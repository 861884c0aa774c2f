/**
 * A file while it comes: `<target>.part` holds the bytes, `<target>.part.log` one line for each block that is whole, with its
 * sha256. Blocks come in any order. After a crash only blocks whose bytes on disk have that hash count as there: the log may
 * have reached the disk before the bytes did.
 */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { appendFile, open, readFile, rm, stat, writeFile, type FileHandle } from "node:fs/promises";
import { throwIfAborted } from "@subbit/core";

/** What comes again when a process ends in the middle of it. */
const BLOCK_BYTES = 8 * 2 ** 20;
/** Read at once when blocks are checked. */
const PIECE_BYTES = 2 ** 20;

export interface PartOptions {
  /** Another id is another file: what is there of it is dropped. */
  readonly id: string;
  readonly bytes: number;
  /** @default 8 MB */
  readonly blockBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class PartFile {
  readonly bytes: number;
  readonly #paths: PartPaths;
  readonly #handle: FileHandle;
  readonly #blockBytes: number;
  readonly #done = new Set<number>();

  private constructor(paths: PartPaths, handle: FileHandle, bytes: number, blockBytes: number) {
    this.#paths = paths;
    this.#handle = handle;
    this.bytes = bytes;
    this.#blockBytes = blockBytes;
  }

  static async open(target: string, options: PartOptions): Promise<PartFile> {
    const { id, bytes, blockBytes = BLOCK_BYTES, signal } = options;
    const paths = partPaths(target);
    const head = `${JSON.stringify({ id, bytes, blockBytes })}\n`;
    const logged = await readLog(paths.log, head);
    if (logged === undefined) await writeFile(paths.log, head);
    const flags = constants.O_RDWR | constants.O_CREAT | (logged === undefined ? constants.O_TRUNC : 0);
    const handle = await open(paths.data, flags, 0o644);
    try {
      const part = new PartFile(paths, handle, bytes, blockBytes);
      for (const [block, hash] of logged ?? []) {
        throwIfAborted(signal);
        if (block < part.blocks && (await part.#hashOf(block)) === hash) part.#done.add(block);
      }
      return part;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  get blocks(): number {
    return Math.ceil(this.bytes / this.#blockBytes);
  }

  begin(block: number): number {
    return block * this.#blockBytes;
  }

  end(block: number): number {
    return Math.min(this.bytes, (block + 1) * this.#blockBytes);
  }

  missing(): number[] {
    return Array.from({ length: this.blocks }, (_, block) => block).filter((block) => !this.#done.has(block));
  }

  get doneBytes(): number {
    let sum = 0;
    for (const block of this.#done) sum += this.end(block) - this.begin(block);
    return sum;
  }

  async write(chunk: Uint8Array, offset: number): Promise<void> {
    for (let at = 0; at < chunk.byteLength;) {
      const { bytesWritten } = await this.#handle.write(chunk, at, chunk.byteLength - at, offset + at);
      at += bytesWritten;
    }
  }

  /** All bytes of the block are written and have this sha256. */
  async finish(block: number, sha256: string): Promise<void> {
    this.#done.add(block);
    await appendFile(this.#paths.log, `${block} ${sha256}\n`);
  }

  /** Pieces of the whole file in order. */
  async *pieces(): AsyncGenerator<Uint8Array> {
    const buffer = new Uint8Array(PIECE_BYTES);
    for (let at = 0; at < this.bytes;) {
      const { bytesRead } = await this.#handle.read(buffer, 0, Math.min(PIECE_BYTES, this.bytes - at), at);
      if (bytesRead === 0) throw new Error(`${this.#paths.data} became shorter while it was read`);
      yield buffer.subarray(0, bytesRead);
      at += bytesRead;
    }
  }

  async sync(): Promise<void> {
    await this.#handle.sync();
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async #hashOf(block: number): Promise<string | undefined> {
    const hash = createHash("sha256");
    const buffer = new Uint8Array(PIECE_BYTES);
    for (let at = this.begin(block); at < this.end(block);) {
      const { bytesRead } = await this.#handle.read(
        buffer,
        0,
        Math.min(PIECE_BYTES, this.end(block) - at),
        at,
      );
      if (bytesRead === 0) return undefined;
      hash.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
    return hash.digest("hex");
  }
}

interface PartPaths {
  readonly data: string;
  readonly log: string;
}

export function partPaths(target: string): PartPaths {
  return { data: `${target}.part`, log: `${target}.part.log` };
}

export async function removePart(target: string): Promise<void> {
  const { data, log } = partPaths(target);
  await rm(log, { force: true });
  await rm(data, { force: true });
}

/** Bytes on disk of what was begun, at most; 0 for none. */
export async function partBytes(target: string): Promise<number> {
  const found = await stat(partPaths(target).data).catch(() => undefined);
  return found === undefined ? 0 : found.blocks * 512 || found.size;
}

/** The logged blocks; `undefined` for no log, or one of another file. The last line may be cut. */
async function readLog(path: string, head: string): Promise<Map<number, string> | undefined> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  if (text === undefined || !text.startsWith(head)) return undefined;
  const done = new Map<number, string>();
  for (const line of text.slice(head.length).split("\n")) {
    const match = /^(\d{1,9}) ([0-9a-f]{64})$/.exec(line);
    if (match !== null) done.set(Number(match[1]), match[2]);
  }
  return done;
}
