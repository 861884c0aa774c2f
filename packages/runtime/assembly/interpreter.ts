// Walks the program. Every thread walks all of it and does its share of each instruction; barriers are instructions too.
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
  OP_MULTIPLY,
  OP_NORM,
  OP_POSITIONS,
  OP_SCALE,
  OP_SHIFT,
  OP_SIGN_GEMM,
  OP_SIGN_MULTIPLY,
  OP_PACK_SIGNS,
  OP_LEVELS,
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
} from "../src/abi";
import { attention } from "./attention";
import { attendToken } from "./attention-token";
import { dense } from "./dense";
import { activate, add, multiply, scale, softcap } from "./elementwise";
import { embed, positions } from "./embed";
import { heads } from "./heads";
import { storeKv } from "./kv-cache";
import { headNorm, norm } from "./norm";
import { signGemm } from "./sign-gemm";
import { signMultiply, signProduct } from "./sign-product";
import { packSigns } from "./pack-signs";
import { copyRows, levels, shift, timesBase, widenValues } from "./pack-values";
import { signRows } from "./sign-rows";
import { signTables } from "./sign-tables";
import { sketchEstimate } from "./sketch-estimate";
import { sketchRescore } from "./sketch-rescore";
import { sketchRows } from "./sketch-rows";
import { barrier } from "./threads";

export function runProgram(start: usize, end: usize, thread: i32, threads: i32): void {
  for (let pc = start; pc < end; pc += INSTRUCTION_BYTES) {
    switch (load<i32>(pc)) {
      case OP_BARRIER:
        barrier(threads);
        break;
      case OP_EMBED:
        embed(pc, thread, threads);
        break;
      case OP_NORM:
        norm(pc, thread, threads);
        break;
      case OP_HEAD_NORM:
        headNorm(pc, thread, threads);
        break;
      case OP_SCALE:
        scale(pc, thread, threads);
        break;
      case OP_SOFTCAP:
        softcap(pc, thread, threads);
        break;
      case OP_POSITIONS:
        positions(pc, thread, threads);
        break;
      case OP_SHIFT:
        shift(pc, thread, threads);
        break;
      case OP_DENSE:
        dense(pc, thread, threads);
        break;
      case OP_SIGN_TABLES:
        signTables(pc, thread, threads);
        break;
      case OP_SIGN_PRODUCT:
        signProduct(pc, thread, threads);
        break;
      case OP_SIGN_GEMM:
        signGemm(pc, thread, threads);
        break;
      case OP_HEADS:
        heads(pc, thread, threads);
        break;
      case OP_ATTENTION:
        attention(pc, thread, threads);
        break;
      case OP_ATTEND_TOKEN:
        attendToken(pc, thread, threads);
        break;
      case OP_STORE_KV:
        storeKv(pc, thread, threads);
        break;
      case OP_ACTIVATE:
        activate(pc, thread, threads);
        break;
      case OP_ADD:
        add(pc, thread, threads);
        break;
      case OP_MULTIPLY:
        multiply(pc, thread, threads);
        break;
      case OP_SIGN_MULTIPLY:
        signMultiply(pc, thread, threads);
        break;
      case OP_PACK_SIGNS:
        packSigns(pc, thread, threads);
        break;
      case OP_WIDEN:
        widenValues(pc, thread, threads);
        break;
      case OP_SIGN_ROWS:
        signRows(pc, thread, threads);
        break;
      case OP_LEVELS:
        levels(pc, thread, threads);
        break;
      case OP_TIMES_BASE:
        timesBase(pc, thread, threads);
        break;
      case OP_COPY_ROWS:
        copyRows(pc, thread, threads);
        break;
      case OP_SKETCH_ROWS:
        sketchRows(pc, thread, threads);
        break;
      case OP_SKETCH_ESTIMATE:
        sketchEstimate(pc, thread, threads);
        break;
      case OP_SKETCH_RESCORE:
        sketchRescore(pc, thread, threads);
        break;
      default:
        unreachable();
    }
  }
}
