/** The teacher's blocks as feeds: read once and kept where they fit, else read again each time. */
import type { Model } from "@subbit/core";
import { type BlockForms, DENSE_FORMS, type WeightFeeds } from "@subbit/engine";
import { stateFeeds } from "./feeds.js";
import { readDenseBlock } from "./model-state.js";
import type { BlockState } from "./state.js";

export class TeacherBlocks {
  readonly forms: BlockForms = DENSE_FORMS;
  readonly #model: Model;
  readonly #kept: Map<number, BlockState> | undefined;

  /** @param keep whether all blocks stay in memory, 4 bytes per weight */
  constructor(model: Model, keep: boolean) {
    this.#model = model;
    this.#kept = keep ? new Map() : undefined;
  }

  /** Block `layer`; not to be changed. */
  async block(layer: number): Promise<BlockState> {
    const kept = this.#kept?.get(layer);
    if (kept) return kept;
    const block = await readDenseBlock(this.#model, layer);
    this.#kept?.set(layer, block);
    return block;
  }

  /** Frees what is kept; blocks asked for later are read again. */
  release(): void {
    this.#kept?.clear();
  }

  async feeds(layer: number): Promise<WeightFeeds> {
    return stateFeeds(await this.block(layer));
  }
}
