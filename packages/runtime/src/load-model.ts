/** From an open model (weights still in its checkpoint) to a running one (weights in WebAssembly memory). */
import { SubbitError, type Model, type OnProgress, type Tokenizer } from "@subbit/core";
import { CTRL_THREADS, KEY_BLOCK, MAX_TILE } from "./abi.js";
import { planExecution, type RuntimeDevice } from "./executors/open.js";
import { buildProgram } from "./program/build.js";
import type { SignBits } from "./program/emitter.js";
import { RuntimeModel } from "./session/runtime-model.js";
import { TileRunner } from "./session/tile-runner.js";
import { Arena, MAX_MODEL_BYTES, tooLarge } from "./weights/arena.js";
import { estimateWeightBytes, kvCacheBytes, scratchBytes } from "./weights/estimate.js";
import { pad } from "./weights/place.js";
import { placeModel } from "./weights/place-model.js";

export interface LoadOptions {
  /** @default "auto" */
  readonly device?: RuntimeDevice | undefined;
  /** @default the logical processors, 4 at most */
  readonly threads?: number | undefined;
  /** Most tokens of one text. @default what the model was trained for, 2048 at most */
  readonly contextTokens?: number | undefined;
  /** Tokens that are computed together when a prompt is read. @default 32 */
  readonly tileTokens?: number | undefined;
  /**
   * Bits that sums of four inputs are rounded to when a single token meets factored linears: relative error of a product about
   * 6e-4 for 12, 8e-3 for 8 (faster), 6e-5 for 16 (slower). Prompts are read without rounding. @default 12
   */
  readonly signBits?: SignBits | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

const DEFAULT_CONTEXT = 2048;
const DEFAULT_TILE = 32;

/**
 * Reads the weights once, into one memory, and makes the program. The model's checkpoint may be closed afterwards.
 * Throws `resources` before reading anything when the model cannot fit, `usage` for options out of range.
 *
 * @param tokenizer needed to generate from text; ids and logits do without
 */
export async function loadModel(
  model: Model,
  tokenizer?: Tokenizer,
  options: LoadOptions = {},
): Promise<RuntimeModel> {
  const { signal, onProgress, signBits = 12 } = options;
  const contextTokens = checkContext(model, options.contextTokens);
  checkSignBits(signBits);
  const tile = checkTile(options.tileTokens ?? DEFAULT_TILE);
  const capacity = pad(contextTokens, KEY_BLOCK);
  const plan = await planExecution(options.device ?? "auto", options.threads);
  const bytes = estimateWeightBytes(model) + kvCacheBytes(model, capacity) + scratchBytes(model, tile);
  if (bytes > MAX_MODEL_BYTES) throw tooLarge(bytes);

  const arena = new Arena(plan.shared, bytes);
  const placed = await placeModel(arena, model, { capacity, signal, onProgress });
  const { threads } = plan.capabilities;
  const program = buildProgram(arena, model.spec, placed.model, placed, { tile, threads, signBits });
  const fill = placed.filler?.prepare(model.checkpoint);
  new Uint32Array(arena.memory.buffer)[CTRL_THREADS >>> 2] = threads;
  const executor = await plan.open(arena.memory);
  try {
    await fill?.(executor, { signal, onProgress });
  } catch (error) {
    await executor.dispose();
    throw error;
  }
  return new RuntimeModel({
    name: model.checkpoint.name,
    spec: model.spec,
    tokenizer,
    contextTokens,
    memoryBytes: arena.usedBytes,
    capabilities: plan.capabilities,
    runner: new TileRunner(arena.memory, executor, program, threads),
  });
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
