/**
 * Activations of the calibration windows between blocks: what the teacher and the compressed prefix hand on. They move
 * forward block by block, in place; a resumed run moves them through the blocks that are already done.
 */
import { join } from "node:path";
import { throwIfAborted } from "@subbit/core";
import type { BlockForms, WeightFeeds } from "@subbit/engine";
import { gatherWindows, type Windows } from "../calibrate/windows.js";
import { FileHidden, type HiddenStore, MemoryHidden } from "../student/hidden-store.js";
import { embed, type EndsState } from "../student/model-state.js";
import type { RunContext } from "./context.js";

/** Windows that go through a block at once. */
const BATCH = 4;

export class Activations {
  readonly store: HiddenStore;
  readonly #context: RunContext;
  readonly #windows: Windows;
  #layer = 0;

  private constructor(context: RunContext, windows: Windows, store: HiddenStore) {
    this.#context = context;
    this.#windows = windows;
    this.store = store;
  }

  /** What enters block 0: the embedded tokens. */
  static async create(
    context: RunContext,
    windows: Windows,
    ends: EndsState,
    name: string,
  ): Promise<Activations> {
    const size = windows.seqlen * context.spec.hiddenSize;
    const store = context.hiddenInMemory
      ? new MemoryHidden(windows.count, size)
      : await FileHidden.create(join(context.ledger.folder, `${name}.f32`), size);
    for (let window = 0; window < windows.count; window++) {
      const ids = gatherWindows(windows, [window]);
      await store.scatter([window], embed(context.spec, ends, ids, windows.seqlen));
    }
    return new Activations(context, windows, store);
  }

  /** The block that these activations enter. */
  get layer(): number {
    return this.#layer;
  }

  /** Moves through one block. */
  async advance(forms: BlockForms, feeds: WeightFeeds): Promise<void> {
    const { programs, signal } = this.#context;
    const { count, seqlen } = this.#windows;
    for (let begin = 0; begin < count; begin += BATCH) {
      throwIfAborted(signal);
      const which = Array.from({ length: Math.min(BATCH, count - begin) }, (_, i) => begin + i);
      const program = await programs.get(forms, {
        mode: "forward",
        layer: this.#layer,
        batch: which.length,
        tokens: seqlen,
      });
      const { out } = await program.run({ ...feeds, hidden: await this.store.gather(which) });
      await this.store.scatter(which, out);
    }
    this.#layer++;
  }

  async close(): Promise<void> {
    await this.store.close();
  }
}
