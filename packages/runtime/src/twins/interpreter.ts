/** Runs a program with the plain TypeScript twins: slow, obvious, on the same memory and the same instructions. */
import {
  INSTRUCTION_BYTES,
  OP_ACTIVATE,
  OP_ADD,
  OP_ATTENTION,
  OP_ATTEND_TOKEN,
  OP_BARRIER,
  OP_COPY_ROWS,
  OP_DENSE,
  OP_EMBED,
  OP_HEADS,
  OP_HEAD_NORM,
  OP_LEVELS,
  OP_MULTIPLY,
  OP_NORM,
  OP_POSITIONS,
  OP_SCALE,
  OP_SHIFT,
  OP_SIGN_GEMM,
  OP_SIGN_MULTIPLY,
  OP_PACK_SIGNS,
  OP_SIGN_PRODUCT,
  OP_SIGN_ROWS,
  OP_SIGN_TABLES,
  OP_SOFTCAP,
  OP_TIMES_BASE,
  OP_WIDEN,
  OP_STORE_KV,
  OP_SKETCH_ESTIMATE,
  OP_SKETCH_RESCORE,
  OP_SKETCH_ROWS,
} from "../abi.js";
import { attendToken, attention } from "./attention.js";
import { dense, embed, positions } from "./dense.js";
import { activate, add, multiply, scale, softcap } from "./elementwise.js";
import { heads } from "./heads.js";
import { storeKv } from "./kv-cache.js";
import { word, type MemoryViews, type Twin } from "./memory.js";
import { headNorm, norm } from "./norm.js";
import { signGemm } from "./sign-gemm.js";
import { signRows } from "./sign-rows.js";
import { signMultiply, signProduct, signTables } from "./sign.js";
import { copyRows, levels, packStoredSigns, shift, timesBase, widenValues } from "./pack.js";
import { sketchEstimate, sketchRescore } from "./shortlist.js";
import { sketchRows } from "./sketch-rows.js";

const TWINS = new Map<number, Twin>([
  [OP_BARRIER, () => undefined],
  [OP_EMBED, embed],
  [OP_NORM, norm],
  [OP_DENSE, dense],
  [OP_SIGN_TABLES, signTables],
  [OP_SIGN_PRODUCT, signProduct],
  [OP_SIGN_MULTIPLY, signMultiply],
  [OP_SIGN_GEMM, signGemm],
  [OP_SIGN_ROWS, signRows],
  [OP_HEADS, heads],
  [OP_ATTENTION, attention],
  [OP_ATTEND_TOKEN, attendToken],
  [OP_STORE_KV, storeKv],
  [OP_ACTIVATE, activate],
  [OP_HEAD_NORM, headNorm],
  [OP_SCALE, scale],
  [OP_SOFTCAP, softcap],
  [OP_POSITIONS, positions],
  [OP_SHIFT, shift],
  [OP_ADD, add],
  [OP_SKETCH_ROWS, sketchRows],
  [OP_SKETCH_ESTIMATE, sketchEstimate],
  [OP_SKETCH_RESCORE, sketchRescore],
  [OP_MULTIPLY, multiply],
  [OP_PACK_SIGNS, packStoredSigns],
  [OP_WIDEN, widenValues],
  [OP_LEVELS, levels],
  [OP_TIMES_BASE, timesBase],
  [OP_COPY_ROWS, copyRows],
]);

/** Runs the instructions in [start, end), byte addresses. */
export function runTwins(memory: MemoryViews, start: number, end: number): void {
  for (let pc = start; pc < end; pc += INSTRUCTION_BYTES) {
    const twin = TWINS.get(word(memory, pc, 0));
    if (twin === undefined) throw new RangeError(`No instruction has the opcode ${word(memory, pc, 0)}.`);
    twin(memory, pc);
  }
}
