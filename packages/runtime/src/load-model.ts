/** From an open model (weights still in its checkpoint) to a running one (weights in WebAssembly memory). */
import {
  SubbitError,
  isPacked,
  throwIfAborted,
  type Model,
  type OnProgress,
  type Tokenizer,
} from "@subbit/core";
import { CTRL_TOKENS, CTRL_TOKEN_IDS, KEY_BLOCK, MAX_TILE } from "./abi.js";
import { freeMemory } from "./executors/free-memory.js";
import { planExecution, type RuntimeDevice } from "./executors/open.js";
import {
  describeChoice,
  measureThreads,
  recallThreads,
  rememberThreads,
  threadChoiceKey,
} from "./executors/thread-choice.js";
import type { Executor, Team, ThreadChoice } from "./executors/types.js";
import { buildProgram, type Program } from "./program/build.js";
import type { SignBits } from "./program/emitter.js";
import { KV_BITS, type KvBits } from "./kv-layout.js";
import { RuntimeModel } from "./session/runtime-model.js";
import { TileRunner } from "./session/tile-runner.js";
import { Arena, MAX_MODEL_BYTES, tooLarge } from "./weights/arena.js";
import { estimateWeightBytes, kvCacheBytes, scratchBytes } from "./weights/estimate.js";
import { pad, type PlacedTable } from "./weights/place.js";
import { isSketchWorth, placeSketch, sketchBytes, type PlacedSketch } from "./weights/place-sketch.js";
import { placeModel } from "./weights/place-model.js";

export interface LoadOptions {
  /** @default "auto" */
  readonly device?: RuntimeDevice | undefined;
  /** @default as many as are measured to be best, 8 at most; remembered for models of the same shape */
  readonly threads?: number | undefined;
  /** Most tokens of one text. @default what the model was trained for, 2048 at most */
  readonly contextTokens?: number | undefined;
  /** Tokens that are computed together when a prompt is read. @default 64 */
  readonly tileTokens?: number | undefined;
  /**
   * Bits that sums of four inputs are rounded to when a single token meets factored linears: relative error of a product about
   * 6e-4 for 12, 8e-3 for 8 (faster), 6e-5 for 16 (slower). Prompts are read with an error of 5e-4 whatever it is. @default 12
   */
  readonly signBits?: SignBits | undefined;
  /**
   * Bits of a number of the KV cache: 32 (f32), 16 (binary16) or 8 (integers with a step size for each head and position).
   * @default 16 for packed models, 32 for dense ones
   */
  readonly kvBits?: KvBits | undefined;
  /**
   * Find the largest logits by a sketch of the head instead of computing all: for greedy and top-k sampling, same answers.
   * @default where the head is large enough to gain from it
   */
  readonly shortlist?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

const DEFAULT_CONTEXT = 2048;
const DEFAULT_TILE = 64;

/**
 * Reads the weights once, into one memory, and makes the program. The model's checkpoint may be closed afterwards.
 * Throws `resources` before reading anything when the model cannot fit, `usage` for options out of range.
 *
 * @param tokenizer needed to generate from text, ids and logits do without; a function that opens it runs while threads start
 */
export async function loadModel(
  model: Model,
  tokenizer?: Tokenizer | (() => Promise<Tokenizer | undefined>),
  options: LoadOptions = {},
): Promise<RuntimeModel> {
  try {
    return await loadInto(model, tokenizer, options);
  } catch (error) {
    await freeMemory();
    throw error;
  }
}

async function loadInto(
  model: Model,
  tokenizer: Tokenizer | undefined | (() => Promise<Tokenizer | undefined>),
  options: LoadOptions,
): Promise<RuntimeModel> {
  const { signal, onProgress, signBits = 12 } = options;
  const contextTokens = checkContext(model, options.contextTokens);
  checkSignBits(signBits);
  const tile = checkTile(options.tileTokens ?? DEFAULT_TILE);
  const capacity = pad(contextTokens, KEY_BLOCK);
  const plan = await planExecution(options.device ?? "auto", options.threads);
  const kvBits = checkKvBits(options.kvBits ?? defaultKvBits(model));
  const { spec, manifest } = model;
  const head = spec.tiedHead ? manifest?.embedding : manifest?.head;
  const sketchless = options.shortlist === false || head?.kind === "factored";
  const sketched = sketchless ? 0 : sketchBytes(spec.vocabSize, spec.ends.embeddingSize);
  const cacheBytes = kvCacheBytes(model, capacity, kvBits);
  const bytes = estimateWeightBytes(model) + sketched + cacheBytes + scratchBytes(model, tile);
  if (bytes > MAX_MODEL_BYTES) throw tooLarge(bytes);

  const arena = new Arena(plan.shared, bytes);
  const most = plan.capabilities.threads;
  const key = threadChoiceKey(model, bytes, plan.capabilities.simd, most);
  const known = plan.measure ? await recallThreads(key) : undefined;
  const threads = known?.threads ?? most;
  // Threads take their time to start, and may do so while the memory is planned; memory that is not shared is
  // replaced when it grows, so that they must wait for it.
  let executor = plan.shared ? plan.open(arena.memory, threads) : undefined;
  try {
    const opened = typeof tokenizer === "function" ? await tokenizer() : tokenizer;
    const placed = await placeModel(arena, model, { capacity, kvBits, signal, onProgress });
    const sketch = sketchOf(arena, placed.head, threads, options.shortlist);
    const tables = { ...placed, sketch };
    const program = buildProgram(arena, model.spec, placed.model, tables, { tile, threads, signBits });
    const fill = placed.filler?.prepare(model.checkpoint);
    executor ??= plan.open(arena.memory, threads);
    await fill?.(executor, { signal, onProgress });
    const found = await tryOut(arena, program, executor, plan.measure && known === undefined, signal);
    const choice = known ?? found;
    if (found !== undefined) await rememberThreads(key, found);
    const why = choice && describeChoice(choice, known === undefined ? "just now" : "earlier");
    const { capabilities } = plan;
    return new RuntimeModel({
      name: model.checkpoint.name,
      spec: model.spec,
      tokenizer: opened,
      contextTokens,
      memoryBytes: arena.usedBytes,
      capabilities: {
        ...capabilities,
        threads: choice?.threads ?? threads,
        why: why === undefined ? capabilities.why : `${capabilities.why}; ${why}`,
      },
      runner: new TileRunner(arena.memory, executor, program, placed.ropeSwitches),
    });
  } catch (error) {
    await executor?.dispose();
    throw error;
  }
}

/** Room for the sketch of the head, where it gains from one. A factored head is cheaper than its sketch would be. */
function sketchOf(
  arena: Arena,
  head: PlacedTable,
  threads: number,
  asked: boolean | undefined,
): PlacedSketch | undefined {
  if (head.kind === "factored" || !(asked ?? isSketchWorth(head))) return undefined;
  return placeSketch(arena, head, threads);
}

/** Blocks that are run to find out how fast they are. */
const TRIED_BLOCKS = 4;

/**
 * Runs a part of a token's pass, so that the executor knows what it costs, and finds the best number of threads where that is
 * asked. The KV cache of position 0 is written, and written again by the first text.
 */
async function tryOut(
  arena: Arena,
  { token }: Program,
  executor: Executor | Team,
  measure: boolean,
  signal: AbortSignal | undefined,
): Promise<ThreadChoice | undefined> {
  if (!("use" in executor)) return undefined;
  throwIfAborted(signal);
  const control = new Uint32Array(arena.memory.buffer, 0, CTRL_TOKEN_IDS / 4 + 1);
  control[CTRL_TOKENS >>> 2] = 1;
  const blocks = token.blocks.slice(0, TRIED_BLOCKS);
  const probe = async (): Promise<void> => {
    await executor.run(token.embed.start, blocks[blocks.length - 1].end, true);
    await executor.run(token.head.start, token.head.end, true);
  };
  if (measure) return measureThreads(executor, probe, signal);
  await probe();
  return undefined;
}

function checkContext(model: Model, asked: number | undefined): number {
  const { maxPositions } = model.spec;
  if (asked === undefined) return Math.min(maxPositions, DEFAULT_CONTEXT);
  if (!(Number.isInteger(asked) && asked >= 1 && asked <= maxPositions)) {
    throw new SubbitError(
      "usage",
      `contextTokens = ${asked} was asked, but ${model.checkpoint.name} was trained for 1 to ${maxPositions} positions.`,
    );
  }
  return asked;
}

function checkTile(tile: number): number {
  if (Number.isInteger(tile) && tile >= 1 && tile <= MAX_TILE) return tile;
  throw new SubbitError(
    "usage",
    `tileTokens = ${tile} was asked, but it must be a whole number from 1 to ${MAX_TILE}.`,
  );
}

function checkSignBits(bits: number): void {
  if (bits === 8 || bits === 12 || bits === 16) return;
  throw new SubbitError("usage", `signBits = ${bits} was asked, but it must be 8, 12 or 16.`);
}

/** Rounding to 16 bits is far below the error of sign products by lookup; dense models keep float32's own. */
function defaultKvBits(model: Model): KvBits {
  return isPacked(model) ? 16 : 32;
}

function checkKvBits(bits: KvBits): KvBits {
  if (KV_BITS.includes(bits)) return bits;
  throw new SubbitError(
    "usage",
    `kvBits = ${String(bits)} was asked, but the KV cache has 32, 16 or 8 bits a number.`,
  );
}
