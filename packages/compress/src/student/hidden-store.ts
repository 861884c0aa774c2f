/**
 * Hidden states of all windows between two stages: in memory where they fit, else in a file of the work folder.
 * A window's states are [seqlen, hiddenSize].
 */
import { type FileHandle, open, rm } from "node:fs/promises";

/** Reads hidden states by window. */
export interface HiddenSource {
  /** States of some windows, one after another. */
  gather(windows: readonly number[]): Promise<Float32Array>;
}

export interface HiddenStore extends HiddenSource {
  /** Replaces the states of some windows. */
  scatter(windows: readonly number[], states: Float32Array): Promise<void>;
  close(): Promise<void>;
}

export class MemoryHidden implements HiddenStore {
  readonly #states: Float32Array;
  readonly #size: number;

  /** @param windowSize floats of one window */
  constructor(count: number, windowSize: number) {
    this.#states = new Float32Array(count * windowSize);
    this.#size = windowSize;
  }

  gather(windows: readonly number[]): Promise<Float32Array> {
    const out = new Float32Array(windows.length * this.#size);
    windows.forEach((window, i) => {
      out.set(this.#states.subarray(window * this.#size, (window + 1) * this.#size), i * this.#size);
    });
    return Promise.resolve(out);
  }

  scatter(windows: readonly number[], states: Float32Array): Promise<void> {
    windows.forEach((window, i) => {
      this.#states.set(states.subarray(i * this.#size, (i + 1) * this.#size), window * this.#size);
    });
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

export class FileHidden implements HiddenStore {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #bytes: number;

  private constructor(path: string, file: FileHandle, bytes: number) {
    this.#path = path;
    this.#file = file;
    this.#bytes = bytes;
  }

  /** A scratch file: removed on close, and never read by a later run. */
  static async create(path: string, windowSize: number): Promise<FileHidden> {
    return new FileHidden(path, await open(path, "w+"), windowSize * 4);
  }

  async gather(windows: readonly number[]): Promise<Float32Array> {
    const out = new Float32Array((windows.length * this.#bytes) / 4);
    const bytes = new Uint8Array(out.buffer);
    for (const [i, window] of windows.entries()) {
      await this.#file.read(bytes, i * this.#bytes, this.#bytes, window * this.#bytes);
    }
    return out;
  }

  async scatter(windows: readonly number[], states: Float32Array): Promise<void> {
    const bytes = new Uint8Array(states.buffer, states.byteOffset, states.byteLength);
    for (const [i, window] of windows.entries()) {
      await this.#file.write(bytes, i * this.#bytes, this.#bytes, window * this.#bytes);
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
    await rm(this.#path, { force: true });
  }
}
