// y = scale o S (inScale o x) for many tokens: tokens are the lanes, sums of signed inputs are read from tables.
// Signs are packed as for the sign product (sign-product.ts): a byte holds the codes of two groups of four inputs, so it is an
// index into 256 sums of eight inputs. An entry is one 16-bit integer for each of 16 tokens ("four Russians" over a block).
// Per token and block of GEMM_BLOCK inputs the sums are scaled so that no order of adding them can leave 16 bits: integer sums
// are exact, so a result does not depend on how the work is cut. Blocks are added in f32, first to last; then terms, where the
// signs have several, each with entries of its own.
import {
  CTRL_HEAD_FIRST,
  GEMM_BLOCK,
  GEMM_LANES,
  GEMM_MAX_ROWS,
  GEMM_SCRATCH,
  S_IN_SCALE,
  SIGN_CHUNK,
  SIGN_ROW_TILE,
  S_COLS,
  S_HEAD_ONLY,
  S_ROWS,
  S_TERMS,
  S_WEIGHTS,
  W_SRC,
  W_SRC_STRIDE,
} from "../src/abi";
import { byteRows, nibbleRows, pairTables } from "./sign-gemm-rows";
import { finishRows } from "./sign-gemm-finish";
import { blockEntries } from "./sign-gemm-tables";
import { number, scratch, shareStart, tokens, word } from "./words";

/** With fewer rows the 256 entries of a byte cost more than two lookups among 16 for every row. */
const BYTE_TABLE_ROWS: i32 = 304;

// Scratch of a thread: step sizes and factors of the lanes, entries of a block, entries of a chunk's bytes, sums of the rows.
const STEPS: usize = 0;
const ENTRIES: usize = 256;
/** Four bytes of 256 entries, after 32 groups of 16 entries of 16 lanes; before that, rounded inputs. */
const PAIRS: usize = ENTRIES + (GEMM_BLOCK / 4) * 512;
/** Short sums of the rows, and after them the long ones. */
const PARTIAL: usize = GEMM_SCRATCH;

function gcd(a: i32, b: i32): i32 {
  while (b != 0) {
    const rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

/** Sums of `tiles` row tiles for the tokens from `x` on; `scale` is that of the term. */
function groupSums(pc: usize, x: usize, count: i32, scale: usize, w: usize, tiles: i32, room: usize, sums: usize): void {
  const cols = number(pc, S_COLS), stride = word(pc, W_SRC_STRIDE) << 2;
  const tileBytes = <usize>cols * 2;
  memory.fill(sums, 0, <usize>tiles * (SIGN_ROW_TILE * 64));
  for (let first = 0; first < cols; first += GEMM_BLOCK) {
    const chunks = min(GEMM_BLOCK, cols - first) / SIGN_CHUNK, offset = <usize>first << 2;
    blockEntries(x + offset, stride, count, scale == 0 ? 0 : scale + offset, chunks, room + STEPS, room + ENTRIES, room + PAIRS);
    const at = w + <usize>first * 2;
    if (tiles * SIGN_ROW_TILE < BYTE_TABLE_ROWS) {
      nibbleRows(at, tileBytes, tiles, room + ENTRIES, chunks, room + STEPS, sums);
      continue;
    }
    for (let chunk = 0; chunk < chunks; chunk++) {
      pairTables(room + ENTRIES + <usize>chunk * 4096, room + PAIRS);
      byteRows(
        at + <usize>chunk * 64,
        tileBytes,
        tiles,
        room + PAIRS,
        room + PARTIAL,
        chunk == 0,
        chunk == chunks - 1,
        room + STEPS,
        sums,
      );
    }
  }
}

export function signGemm(pc: usize, thread: i32, threads: i32): void {
  const begin = number(pc, S_HEAD_ONLY) != 0 ? load<i32>(CTRL_HEAD_FIRST) : 0;
  const count = tokens() - begin, tiles = number(pc, S_ROWS) / SIGN_ROW_TILE;
  const groups = (count + GEMM_LANES - 1) / GEMM_LANES;
  // Rows are cut where they are many, and where groups of tokens alone would not keep all threads busy.
  const most = GEMM_MAX_ROWS / SIGN_ROW_TILE;
  const even = threads / gcd(groups, threads);
  const parts = min(tiles, max((tiles + most - 1) / most, even));
  const units = groups * parts, end = shareStart(units, thread + 1, threads);
  const room = scratch(thread), src = word(pc, W_SRC), stride = word(pc, W_SRC_STRIDE) << 2;
  const tileBytes = <usize>number(pc, S_COLS) * 2, terms = max(1, number(pc, S_TERMS));
  const scale = word(pc, S_IN_SCALE), scaleBytes = word(pc, S_COLS) << 2;
  for (let unit = shareStart(units, thread, threads); unit < end; unit++) {
    const token = (unit / parts) * GEMM_LANES, part = unit % parts;
    const tile = shareStart(tiles, part, parts), tileEnd = shareStart(tiles, part + 1, parts);
    const lanes = min(GEMM_LANES, count - token), row = begin + token;
    const w = word(pc, S_WEIGHTS) + <usize>tile * tileBytes;
    const sums = room + PARTIAL + <usize>(tileEnd - tile) * (SIGN_ROW_TILE * 32);
    for (let term = 0; term < terms; term++) {
      const own: usize = scale == 0 ? 0 : scale + <usize>term * scaleBytes;
      groupSums(pc, src + <usize>row * stride, lanes, own, w, tileEnd - tile, room, sums);
      finishRows(pc, sums, row, lanes, tile, tileEnd, term, term == terms - 1);
    }
  }
}
