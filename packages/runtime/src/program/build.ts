/** A model in memory becomes a program in memory: lowered, fused, scheduled, given scratch memory and encoded. */
import { blockForward, enterForward, leaveForward, type ModelSpec } from "@subbit/core";
import {
  CTRL_NIBBLE_MASK,
  CTRL_SCRATCH,
  CTRL_SCRATCH_STRIDE,
  DENSE_ROW_TILE,
  GEMM_MAX_ROWS,
  GEMM_ROW_SCRATCH,
  GEMM_SCRATCH,
  INSTRUCTION_BYTES,
  INSTRUCTION_WORDS,
  M_COLS,
  OP_BARRIER,
  OP_DENSE,
  OP_SIGN_GEMM,
  OP_SIGN_MULTIPLY,
  SIGN_BLOCK,
  S_COLS,
  S_ROWS,
  S_TERMS,
} from "../abi.js";
import type { Arena } from "../weights/arena.js";
import { pad, type PlacedEmbedding, type PlacedTable } from "../weights/place.js";
import type { PlacedSketch } from "../weights/place-sketch.js";
import { allocateScratch, type ScratchPlan } from "./allocate.js";
import { strideOf, type Draft, type Value } from "./draft.js";
import { Emitter, type SignBits } from "./emitter.js";
import { encodeLevels } from "./encode.js";
import { dealShares } from "./deal.js";
import { fuse } from "./fuse.js";
import { fuseInputs } from "./fuse-inputs.js";
import { emitSketchRows } from "./lowering/head.js";
import { termBytes } from "./lowering/signs.js";
import type { PlacedModel } from "./placed-model.js";
import { ProgramOps } from "./program-ops.js";
import { schedule, type Level } from "./schedule.js";

/** Byte addresses; a part of the program ends where the next one starts. */
export interface Segment {
  readonly start: number;
  readonly end: number;
}

/** f32 rows, one a token of the tile. */
export interface Rows {
  readonly address: number;
  /** Floats from row to row. */
  readonly stride: number;
  /** Floats of a row that mean something. */
  readonly features: number;
}

/** The instructions of one pass, for one token or for a tile of them. */
export interface Pass {
  readonly embed: Segment;
  readonly blocks: readonly Segment[];
  readonly finalNorm: Segment;
  readonly head: Segment;
  /** Where the hidden states lie after `embed` (0), after block i - 1 (i), after `finalNorm` (the last: what the head reads). */
  readonly hidden: readonly Rows[];
  readonly logits: Rows;
}

export interface Program {
  /** For a single token. */
  readonly token: Pass;
  /** For any number up to `tileTokens`. */
  readonly tile: Pass;
  readonly tileTokens: number;
  /** How the largest logits are found without computing all, where the head is large enough for that. */
  readonly shortlist: Shortlisting | undefined;
}

export interface Shortlisting {
  readonly sketch: PlacedSketch;
  /** Soft cap of the logits, for those that are read from the sketch's lists. */
  readonly softcap?: number | undefined;
  /** Fills the sketch. */
  readonly fill: Segment;
}

interface Part {
  readonly levels: Level[];
  readonly output: Value;
}

interface Tables {
  readonly embedding: PlacedEmbedding;
  readonly head: PlacedTable;
  readonly sketch?: PlacedSketch | undefined;
}

export interface BuildOptions {
  /** Tokens of the largest tile. */
  readonly tile: number;
  readonly threads: number;
  readonly signBits: SignBits;
}

export function buildProgram(
  arena: Arena,
  spec: ModelSpec,
  model: PlacedModel,
  tables: Tables,
  options: BuildOptions,
): Program {
  const { tile, threads, signBits } = options;
  const drafts = {
    token: planPass(lower(spec, model, tables, new Emitter("token", signBits)), 1),
    tile: planPass(lower(spec, model, tables, new Emitter("tile", signBits)), tile),
  };
  // The passes never run at the same time, so they share their scratch memory.
  const scratch = arena.allocate(Math.max(drafts.token.scratch.bytes, drafts.tile.scratch.bytes));
  const program = {
    token: writePass(arena, spec, drafts.token, scratch),
    tile: writePass(arena, spec, drafts.tile, scratch),
    tileTokens: tile,
    shortlist: tables.sketch && writeShortlisting(arena, tables.sketch, spec.ends.logitSoftcap),
  };
  setControl(arena, [...drafts.token.parts, ...drafts.tile.parts], threads);
  return program;
}

function writeShortlisting(arena: Arena, sketch: PlacedSketch, softcap: number | undefined): Shortlisting {
  const emitter = new Emitter("token");
  const output = emitSketchRows(emitter, sketch);
  const [fill] = writeProgram(arena, [{ levels: schedule(emitter.take()), output }], () => sketch.address);
  return { sketch, softcap, fill };
}

interface PlannedPass {
  readonly parts: Part[];
  readonly scratch: ScratchPlan;
}

function planPass(parts: Part[], tokens: number): PlannedPass {
  const scratch = allocateScratch(
    parts.map((part) => part.levels),
    parts.map((part) => [part.output]),
    tokens,
  );
  return { parts, scratch };
}

function writePass(arena: Arena, spec: ModelSpec, { parts, scratch }: PlannedPass, base: number): Pass {
  const addressOf = (value: Value): number => value.address ?? base + (scratch.offsets.get(value) ?? 0);
  const segments = writeProgram(arena, parts, addressOf);
  const rows = (value: Value, features: number): Rows => ({
    address: addressOf(value),
    stride: strideOf(value),
    features,
  });
  const last = parts.length - 1;
  const { hiddenSize, ends } = spec;
  return {
    embed: segments[0],
    blocks: segments.slice(1, -2),
    finalNorm: segments[last - 1],
    head: segments[last],
    hidden: [
      ...parts.slice(0, -3).map((part) => rows(part.output, hiddenSize)),
      rows(parts[last - 1].output, ends.embeddingSize),
    ],
    logits: rows(parts[last].output, spec.vocabSize),
  };
}

/** Embedding, blocks, final norm, head. */
function lower(spec: ModelSpec, model: PlacedModel, tables: Tables, emitter: Emitter): Part[] {
  const ops = new ProgramOps(model, emitter);
  const parts: Part[] = [];
  const finish = (output: Value): Value => {
    const fused = fuse(emitter.take(), output);
    if (emitter.mode === "token") fuseInputs(fused.drafts, fused.kept);
    const levels = schedule(fused.drafts);
    levels.forEach(dealShares);
    parts.push({ levels, output: fused.kept });
    return emitter.renamed(output, fused.kept);
  };
  let hidden = finish(enterForward(ops, spec, ops.embed(tables.embedding)));
  for (let layer = 0; layer < spec.layers; layer++) hidden = finish(blockForward(ops, spec, layer, hidden));
  hidden = finish(leaveForward(ops, spec, hidden));
  finish(ops.head(hidden, tables.head, { sketch: tables.sketch, softcap: spec.ends.logitSoftcap }));
  return parts;
}

/** Each part but the first starts with a barrier, so that any run of parts may be dispatched at once. */
export function writeProgram(
  arena: Arena,
  parts: readonly Part[],
  addressOf: (value: Value) => number,
): Segment[] {
  const barrier = new Uint32Array(INSTRUCTION_WORDS).fill(OP_BARRIER, 0, 1);
  const words = parts.map((part, i) => {
    const body = encodeLevels(part.levels, addressOf);
    return i === 0 ? body : Uint32Array.from([...barrier, ...body]);
  });
  const total = words.reduce((sum, part) => sum + part.length, 0);
  let at = arena.allocate((total / INSTRUCTION_WORDS) * INSTRUCTION_BYTES);
  return words.map((part) => {
    new Uint32Array(arena.memory.buffer, at, part.length).set(part);
    const start = at;
    at += part.length * 4;
    return { start, end: at };
  });
}

/** Scratch of every thread, sized for the hungriest instruction, and the constants that kernels read. */
export function setControl(arena: Arena, parts: readonly Part[], threads: number): void {
  const drafts = parts.flatMap((part) => part.levels.flat());
  const bytes = pad(Math.max(...drafts.map(threadScratchBytes)), 64) + 64;
  const address = arena.allocate(bytes * threads);
  const control = new Uint32Array(arena.memory.buffer);
  control[CTRL_SCRATCH >>> 2] = address;
  control[CTRL_SCRATCH_STRIDE >>> 2] = bytes;
  arena.bytes(CTRL_NIBBLE_MASK, 16).fill(15);
}

function threadScratchBytes(draft: Draft): number {
  const operand = (index: number): number => {
    const value = draft.operands[index];
    return typeof value === "number" ? value : 0;
  };
  if (draft.scratchBytes) return draft.scratchBytes;
  // Four widened rows and two times four products.
  if (draft.op === OP_DENSE) return DENSE_ROW_TILE * operand(M_COLS) * 4 + 32;
  if (draft.op === OP_SIGN_GEMM) {
    return GEMM_SCRATCH + Math.min(operand(S_ROWS), GEMM_MAX_ROWS) * GEMM_ROW_SCRATCH;
  }
  // Sixteen sums and a block of prepared inputs; tables and their steps.
  const sign = 64 + SIGN_BLOCK * 4;
  if (draft.op !== OP_SIGN_MULTIPLY) return sign;
  return sign + operand(S_TERMS) * termBytes(operand(S_COLS));
}
