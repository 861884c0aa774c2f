/**
 * Runs tiles of tokens through the program and remembers which ids the KV cache holds, so that texts that begin alike are not
 * computed twice. Every step checks the cache against the text it belongs to: two generations may take turns on one model.
 */
import { SubbitError } from "@subbit/core";
import {
  CTRL_HEAD_FIRST,
  CTRL_POSITION,
  CTRL_TOKENS,
  CTRL_TOKEN_IDS,
  INSTRUCTION_BYTES,
  SH_COS,
  SH_SIN,
  SHORTLIST_MAX,
} from "../abi.js";
import type { Executor } from "../executors/types.js";
import type { Pass, Program, Rows } from "../program/build.js";
import type { RopeSwitch } from "../weights/place-cache.js";
import { freeMemory } from "../executors/free-memory.js";
import { askForShortlist, HeadSketch, type Shortlist } from "./head-sketch.js";
import { Mutex } from "./mutex.js";
import { instructionsIn, type TimedInstruction } from "./profile.js";

/** Fewer tokens than this are computed sooner one by one: the kernels for many take sixteen at a time. */
const MIN_TILE = 6;

export class TileRunner {
  readonly program: Program;
  #memory: WebAssembly.Memory | undefined;
  readonly #executor: Executor;
  readonly #mutex = new Mutex();
  #cached: readonly number[] = [];
  /** How many of the first of them went through the `tile` program: evaluation builds on no others, whose bits differ. */
  #tiled = 0;
  #failure: Error | undefined;
  readonly #sketch: HeadSketch | undefined;
  readonly #ropeSwitches: readonly RopeSwitch[];

  constructor(
    memory: WebAssembly.Memory,
    executor: Executor,
    program: Program,
    ropeSwitches: readonly RopeSwitch[] = [],
  ) {
    this.#ropeSwitches = ropeSwitches;
    this.#memory = memory;
    this.#executor = executor;
    this.program = program;
    this.#sketch = program.shortlist && new HeadSketch(program.shortlist);
  }

  /** How many of `ids` the cache holds already. */
  cachedPrefix(ids: readonly number[]): number {
    let same = 0;
    while (same < ids.length && same < this.#cached.length && ids[same] === this.#cached[same]) same++;
    return same;
  }

  /** Forgets the cache. */
  reset(): void {
    this.#cached = [];
  }

  /**
   * Brings the cache to all of `ids` and returns the logits after the last, [vocab], or the largest `wanted` of them where that
   * is quicker.
   *
   * @param beforeTile may throw to stop in between
   * @param wanted 0 for all
   */
  async logitsAfter(
    ids: readonly number[],
    beforeTile: () => void,
    wanted = 0,
  ): Promise<Float32Array | Shortlist> {
    for (;;) {
      beforeTile();
      const logits = await this.#mutex.run(async () => {
        this.#chooseRopes(ids.length);
        const from = Math.min(this.cachedPrefix(ids), ids.length - 1);
        const count = ids.length - from < MIN_TILE ? 1 : Math.min(this.program.tileTokens, ids.length - from);
        const to = from + count;
        const last = to === ids.length;
        // A few tokens are a matter of latency; what evaluation reads below never depends on how a text is cut.
        const pass = count === 1 ? this.program.token : this.program.tile;
        if (!last) return void (await this.#run(pass, ids, from, to, undefined));
        return this.#lastLogits(pass, ids, from, wanted);
      });
      if (logits !== undefined) return logits;
    }
  }

  async #lastLogits(
    pass: Pass,
    ids: readonly number[],
    from: number,
    wanted: number,
  ): Promise<Float32Array | Shortlist> {
    const sketch = this.#sketch;
    const count = ids.length - from;
    const short =
      wanted > 0 && wanted <= SHORTLIST_MAX && pass === this.program.token && sketch !== undefined;
    if (short && sketch.due) {
      sketch.write(this.#buffer);
      await this.#execute(sketch.fill.start, sketch.fill.end);
      sketch.settle(this.#buffer);
    }
    if (short && sketch.ready) {
      askForShortlist(this.#buffer, wanted);
      try {
        await this.#run(pass, ids, from, ids.length, count - 1);
      } finally {
        askForShortlist(this.#buffer, 0);
      }
      const shortlist = sketch.read(this.#buffer, wanted);
      if (shortlist !== undefined) return shortlist;
      await this.#execute(pass.head.start, pass.head.end);
    } else {
      await this.#run(pass, ids, from, ids.length, count - 1);
      sketch?.observe(this.#buffer, this.#read(pass.hidden[pass.hidden.length - 1], 0, count));
    }
    return this.#read(pass.logits, count - 1, 1);
  }

  /**
   * Logits of ids[from .. to), one tile at most, [to - from, vocab] written to `out`.
   *
   * @param beforeTile may throw to stop in between
   */
  async logitsOf(
    ids: readonly number[],
    from: number,
    to: number,
    out: Float32Array,
    beforeTile?: () => void,
  ): Promise<void> {
    await this.#mutex.run(async () => {
      // What lacks before `from` shares a tile with it where both fit: tiles are computed in sixteens.
      const enough = to - this.program.tileTokens;
      const have = await this.#catchUp(ids, from, { enough, beforeTile });
      await this.#run(this.program.tile, ids, have, to, from - have);
      this.#read(this.program.tile.logits, from - have, to - from, out);
    });
  }

  /** Hidden states of ids[from .. to), one tile at most: for each of `program.hidden` [to - from, hiddenSize]. */
  async hiddenOf(ids: readonly number[], from: number, to: number): Promise<Float32Array[]> {
    return this.#mutex.run(async () => {
      await this.#catchUp(ids, from);
      const { embed, blocks, finalNorm, hidden } = this.program.tile;
      this.#prepare(ids, from, to, 0);
      const states: Float32Array[] = [];
      // The state that leaves the last block is read after the final norm only.
      const parts = [
        embed,
        ...blocks.slice(0, -1),
        { start: blocks[blocks.length - 1].start, end: finalNorm.end },
      ];
      for (const [i, part] of parts.entries()) {
        await this.#execute(part.start, part.end);
        states.push(this.#read(hidden[i], 0, to - from));
      }
      this.#keep(this.program.tile, ids, from, to);
      return states;
    });
  }

  /** Runs what a token after all but the last of `ids` needs, greedy, instruction by instruction: the least time of each. */
  async timeInstructions(ids: readonly number[], rounds: number): Promise<TimedInstruction[]> {
    return this.#mutex.run(async () => {
      const { embed, head } = this.program.token;
      await this.#catchUp(ids, ids.length - 1);
      const shortlist = this.#sketch?.ready === true;
      const instructions = instructionsIn(this.#buffer, embed.start, head.end, shortlist);
      const least = new Map<number, number>();
      askForShortlist(this.#buffer, shortlist ? 1 : 0);
      try {
        for (let round = 0; round < rounds; round++) {
          this.#prepare(ids, ids.length - 1, ids.length, 0);
          // An empty stretch of the program takes what asking costs.
          for (const [start, end] of [
            [0, 0],
            ...[...instructions.keys()].map((at) => [at, at + INSTRUCTION_BYTES]),
          ]) {
            const began = performance.now();
            await this.#execute(start, end);
            least.set(start, Math.min(least.get(start) ?? Infinity, performance.now() - began));
          }
        }
      } finally {
        askForShortlist(this.#buffer, 0);
      }
      const asking = least.get(0) ?? 0;
      return [...instructions].map(([start, words]) => ({
        words,
        milliseconds: Math.max(0, (least.get(start) ?? 0) - asking),
      }));
    });
  }

  async dispose(): Promise<void> {
    if (this.#memory === undefined) return;
    // The memory goes when nobody names it any more, even where the caller keeps the model.
    this.#memory = undefined;
    this.#cached = [];
    await this.#executor.dispose();
    await freeMemory();
  }

  get #buffer(): ArrayBufferLike {
    if (this.#memory === undefined) {
      throw new SubbitError("usage", "The model was asked to run after it was disposed; load it again.");
    }
    return this.#memory.buffer;
  }

  /**
   * The cache may hold another text by now, or what another program left; computes ids[0 .. from) again where it does, but
   * stops as soon as it reaches `enough`. Returns how many tokens it holds.
   */
  async #catchUp(
    ids: readonly number[],
    from: number,
    { enough = from, beforeTile }: { enough?: number; beforeTile?: (() => void) | undefined } = {},
  ): Promise<number> {
    this.#chooseRopes(ids.length);
    let have = Math.min(this.cachedPrefix(ids), this.#tiled, from);
    while (have < enough) {
      beforeTile?.();
      const to = Math.min(have + this.program.tileTokens, from);
      await this.#run(this.program.tile, ids, have, to, undefined);
      have = to;
    }
    return have;
  }

  /**
   * Puts the rotary tables in place that a text of `tokens` tokens uses. Where these change, what the cache holds is of no
   * use: longrope rotates all positions of a long text by other angles (as transformers, which computes the cache anew).
   */
  #chooseRopes(tokens: number): void {
    for (const { shape, above, short, long } of this.#ropeSwitches) {
      const words = new Uint32Array(this.#buffer, shape, SH_SIN + 1);
      const { cos, sin } = tokens > above ? long : short;
      if (words[SH_COS] === cos) continue;
      words[SH_COS] = cos;
      words[SH_SIN] = sin;
      this.#cached = [];
    }
  }

  /** @param headFirst first token of the tile whose logits are wanted; undefined for none */
  async #run(
    pass: Pass,
    ids: readonly number[],
    from: number,
    to: number,
    headFirst: number | undefined,
  ): Promise<void> {
    this.#prepare(ids, from, to, headFirst ?? 0);
    const { embed, blocks, head } = pass;
    const end = headFirst === undefined ? blocks[blocks.length - 1].end : head.end;
    await this.#execute(embed.start, end);
    this.#keep(pass, ids, from, to);
  }

  /** The cache holds ids[0 .. to) now, of which ids[from .. to) went through `pass`. */
  #keep(pass: Pass, ids: readonly number[], from: number, to: number): void {
    this.#cached = ids.slice(0, to);
    if (this.#tiled < from) return;
    this.#tiled = pass === this.program.tile ? to : from;
  }

  #prepare(ids: readonly number[], from: number, to: number, headFirst: number): void {
    this.#cached = this.#cached.slice(0, from);
    this.#tiled = Math.min(this.#tiled, from);
    const control = new Int32Array(this.#buffer, 0, (CTRL_TOKEN_IDS >>> 2) + this.program.tileTokens);
    control[CTRL_TOKENS >>> 2] = to - from;
    control[CTRL_POSITION >>> 2] = from;
    control[CTRL_HEAD_FIRST >>> 2] = headFirst;
    control.set(ids.slice(from, to), CTRL_TOKEN_IDS >>> 2);
  }

  async #execute(start: number, end: number): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      await this.#executor.run(start, end);
    } catch (error) {
      // What the memory holds now is unknown: nothing may build on it.
      this.#cached = [];
      this.#failure = error instanceof Error ? error : new Error(String(error));
      throw error;
    }
  }

  #read(
    rows: Rows,
    first: number,
    count: number,
    out: Float32Array = new Float32Array(count * rows.features),
  ): Float32Array {
    for (let i = 0; i < count; i++) {
      const at = rows.address + (first + i) * rows.stride * 4;
      out.set(new Float32Array(this.#buffer, at, rows.features), i * rows.features);
    }
    return out;
  }
}
