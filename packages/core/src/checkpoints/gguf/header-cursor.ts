/** A position in a GGUF header that is read through a sliding window, with every step checked against the file's end. */
import { inputError } from "../../errors.js";
import type { ByteSource } from "../types.js";

const WINDOW_BYTES = 1 << 20;

const decoder = new TextDecoder();

export class HeaderCursor {
  /** Bytes from the start of the file. */
  offset = 0;
  /** Bytes of a count or length: 8, or 4 in version 1. */
  sizeBytes: 4 | 8 = 8;
  readonly #source: ByteSource;
  readonly #limit: number;
  #window: DataView = new DataView(new ArrayBuffer(0));
  #windowBegin = 0;

  /** @param maxBytes a header may not be longer than this */
  constructor(source: ByteSource, maxBytes: number) {
    this.#source = source;
    this.#limit = Math.min(maxBytes, source.sizeBytes);
  }

  get name(): string {
    return this.#source.name;
  }

  /** Throws `input` unless `bytes` more bytes lie in the file and the accepted length. */
  requireInside(bytes: number): void {
    if (this.offset + bytes <= this.#limit) return;
    const { name, sizeBytes } = this.#source;
    throw inputError(
      this.#limit === sizeBytes
        ? `The header of ${name} goes on beyond the file's ${sizeBytes} bytes; the file is truncated or damaged, fetch it again.`
        : `The header of ${name} has more than ${this.#limit} bytes, which is not accepted.`,
    );
  }

  skip(bytes: number): void {
    this.requireInside(bytes);
    this.offset += bytes;
  }

  async u32(): Promise<number> {
    const at = this.#at(4) ?? (await this.#fill(4));
    this.offset += 4;
    return this.#window.getUint32(at, true);
  }

  /** The next 32 bits, without moving on. */
  async peekU32(): Promise<number> {
    const value = await this.u32();
    this.offset -= 4;
    return value;
  }

  /** A count or length; beyond 2^53 it is as good as infinite. */
  async size(): Promise<number> {
    const at = this.#at(this.sizeBytes) ?? (await this.#fill(this.sizeBytes));
    return this.#sizeAt(at);
  }

  /** A string: its length, then UTF-8. */
  async text(max: number, what: string): Promise<string> {
    const [text] = await this.texts(1, max, what);
    return text;
  }

  /** That many strings. Vocabularies have 100,000s of them, so it waits only where the window has to move. */
  async texts(count: number, max: number, what: string): Promise<string[]> {
    const out: string[] = [];
    for (let i = 0; i < count; i++) {
      const length = this.#sizeAt(this.#at(this.sizeBytes) ?? (await this.#fill(this.sizeBytes)));
      this.requireLength(length, max, what);
      const at = this.#at(length) ?? (await this.#fill(length));
      const { buffer, byteOffset } = this.#window;
      out.push(decoder.decode(new Uint8Array(buffer, byteOffset + at, length)));
      this.offset += length;
    }
    return out;
  }

  /** Throws `input` unless the length is accepted and inside the file. */
  requireLength(length: number, max: number, what: string): void {
    if (length > max) {
      throw inputError(
        `${this.name} claims ${length} bytes for ${what}, where at most ${max} are accepted; the file is damaged.`,
      );
    }
    this.requireInside(length);
  }

  /** Throws `input` unless that many things of at least that size can follow. */
  requireCount(count: number, minBytes: number, max: number, what: string): void {
    if (count > max || count * minBytes > this.#limit - this.offset) {
      throw inputError(
        `${this.name} claims ${count} ${what}, more than ${count > max ? "are accepted" : "fit into the file"}; it is truncated or damaged, fetch it again.`,
      );
    }
  }

  #sizeAt(at: number): number {
    this.offset += this.sizeBytes;
    const low = this.#window.getUint32(at, true);
    return this.sizeBytes === 4 ? low : low + this.#window.getUint32(at + 4, true) * 2 ** 32;
  }

  /** Index into the window where `bytes` bytes can be read; `undefined` when they are not in it. */
  #at(bytes: number): number | undefined {
    const at = this.offset - this.#windowBegin;
    return at >= 0 && at + bytes <= this.#window.byteLength ? at : undefined;
  }

  async #fill(bytes: number): Promise<number> {
    this.requireInside(bytes);
    const length = Math.max(bytes, Math.min(WINDOW_BYTES, this.#source.sizeBytes - this.offset));
    const read = await this.#source.read(this.offset, length);
    this.#window = new DataView(read.buffer, read.byteOffset, read.byteLength);
    this.#windowBegin = this.offset;
    return 0;
  }
}
