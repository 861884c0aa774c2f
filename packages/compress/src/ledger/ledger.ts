/**
 * The run ledger: content-addressed steps. A step's key hashes its name, its program version, its parameters and the
 * keys of its inputs; its artefact lies in the work folder under that key with a record of its own sha256. A rerun finds
 * the artefact, verifies it and loads it instead of computing; a damaged one is made again. So a run that was killed
 * anywhere and started again gives the same bytes.
 */
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { SubbitError, throwIfAborted } from "@subbit/core";
import { type Artefact, decodeArtefact, encodeArtefact } from "./artefact.js";
import { canonicalJson, type Json, sha256 } from "./canonical.js";
import { isCode, readWhole, writeAtomically } from "./files.js";
import { takeLock } from "./lock.js";

export type StepKey = string;

export interface StepSpec {
  /** Letters, digits and dashes; part of the file name. */
  readonly name: string;
  /** Raised whenever the step's program computes something else from the same inputs. */
  readonly version: number;
  readonly params: Json;
  readonly inputs: readonly StepKey[];
}

/** What a long step may use to survive a kill. */
export interface StepContext {
  /** The last whole snapshot of this step, if any. */
  restore(): Promise<Artefact | undefined>;
  /** Replaces the last snapshot. */
  snapshot(state: Artefact): Promise<void>;
}

export interface StepResult {
  readonly key: StepKey;
  readonly artefact: Artefact;
  /** Whether it was found instead of computed. */
  readonly reused: boolean;
  /** Wall time of the computation, in whichever run it took place. */
  readonly seconds: number;
}

interface Entry {
  readonly file: string;
  readonly sha256: string;
  readonly bytes: number;
  readonly seconds: number;
}

export interface LedgerOptions {
  readonly signal?: AbortSignal;
}

export class Ledger {
  readonly #folder: string;
  readonly #release: () => Promise<void>;
  readonly #signal: AbortSignal | undefined;

  private constructor(folder: string, release: () => Promise<void>, signal: AbortSignal | undefined) {
    this.#folder = folder;
    this.#release = release;
    this.#signal = signal;
  }

  /** Makes the folder if need be and takes its lock. */
  static async open(folder: string, options: LedgerOptions = {}): Promise<Ledger> {
    await mkdir(folder, { recursive: true });
    const release = await takeLock(join(folder, "lock"));
    return new Ledger(folder, release, options.signal);
  }

  get folder(): string {
    return this.#folder;
  }

  static key(spec: StepSpec): StepKey {
    return sha256(
      canonicalJson({ name: spec.name, version: spec.version, params: spec.params, inputs: spec.inputs }),
    );
  }

  /** A file for people, such as run.json; not part of any key. */
  async note(fileName: string, value: Json): Promise<void> {
    await writeAtomically(join(this.#folder, fileName), [
      new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`),
    ]);
  }

  /** The step's artefact: found, or computed and kept. */
  async step(spec: StepSpec, compute: (context: StepContext) => Promise<Artefact>): Promise<StepResult> {
    throwIfAborted(this.#signal);
    const key = Ledger.key(spec);
    const base = `${spec.name}-${key.slice(0, 16)}`;
    const found = await this.#load(`${base}.json`);
    if (found !== undefined)
      return { key, artefact: found.artefact, reused: true, seconds: found.entry.seconds };
    const started = performance.now();
    const artefact = await compute({
      restore: async () => (await this.#load(`${base}.snapshot.json`))?.artefact,
      snapshot: async (state) => {
        // Two slots in turn: the record always points at a whole one.
        const previous = await this.#entry(`${base}.snapshot.json`);
        const slot = previous?.file.endsWith(".a") ? "b" : "a";
        await this.#store(`${base}.snapshot.json`, `${base}.snapshot.${slot}`, state, 0);
      },
    });
    const seconds = (performance.now() - started) / 1000;
    await this.#store(`${base}.json`, `${base}.safetensors`, artefact, seconds);
    await this.#removeAll(`${base}.snapshot`);
    return { key, artefact, reused: false, seconds };
  }

  /** Whether the step's record is there (its artefact is verified only by `step`). */
  async has(spec: StepSpec): Promise<boolean> {
    return (await this.#entry(`${spec.name}-${Ledger.key(spec).slice(0, 16)}.json`)) !== undefined;
  }

  /** Drops the artefacts of steps that only fed one that is now done. */
  async forget(prefix: string): Promise<void> {
    await this.#removeAll(prefix);
  }

  async close(): Promise<void> {
    await this.#release();
  }

  /** Removes the whole folder; the ledger must not be used any more. */
  async destroy(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #removeAll(prefix: string): Promise<void> {
    const names = (await readdir(this.#folder)).filter((name) => name.startsWith(prefix));
    // Records first: a record must never point at nothing after a kill in between.
    names.sort((a, b) => Number(b.endsWith(".json")) - Number(a.endsWith(".json")));
    for (const name of names) await rm(join(this.#folder, name), { force: true });
  }

  async #store(record: string, file: string, artefact: Artefact, seconds: number): Promise<void> {
    const parts = encodeArtefact(artefact);
    await writeAtomically(join(this.#folder, file), parts);
    const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
    await this.note(record, { file, sha256: sha256(...parts), bytes, seconds });
  }

  async #entry(record: string): Promise<Entry | undefined> {
    try {
      return JSON.parse(await readFile(join(this.#folder, record), "utf8")) as Entry;
    } catch (error) {
      if (isCode(error, "ENOENT") || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  /** Undefined when there is none or it is damaged. */
  async #load(record: string): Promise<{ entry: Entry; artefact: Artefact } | undefined> {
    const entry = await this.#entry(record);
    if (entry === undefined) return undefined;
    if (typeof entry.file !== "string" || /[/\\]/.test(entry.file)) {
      throw new SubbitError(
        "input",
        `The record ${record} in ${this.#folder} points outside the folder; remove it.`,
      );
    }
    const bytes = await readWhole(join(this.#folder, entry.file));
    if (bytes?.byteLength !== entry.bytes || sha256(bytes) !== entry.sha256) return undefined;
    return { entry, artefact: decodeArtefact(bytes) };
  }
}
