/**
 * The contract between TypeScript and the WebAssembly kernels: where the control block lies, how an instruction is laid out,
 * what its words mean. This file is compiled by both tsc and AssemblyScript, so it holds plain integer constants only.
 *
 * Memory: [0, 1024) unused, [1024, 2048) control block, then token ids of a tile, then whatever the planner puts there.
 * Activations are f32, one row a token, rows padded to `ROW_PAD` floats; every kernel writes its whole padded row and the
 * padding is zero, so that the next kernel may read it without masks.
 */

/** Floats a row of activations is padded to: a chunk of the sign kernel. */
export const ROW_PAD = 32;
/** Columns a dense weight row is padded to. */
export const DENSE_COL_PAD = 16;
/** Rows that the dense kernel takes at once. */
export const DENSE_ROW_TILE = 4;
/** Rows that the sign kernel takes at once. */
export const SIGN_ROW_TILE = 16;
/** Inputs of one chunk of packed signs: eight groups of four. */
export const SIGN_CHUNK = 32;
/** Inputs that share one quantisation step. */
export const SIGN_BLOCK = 512;
/** Bytes of tables for one input: a group of four has two tables (low and high bits) of 16 bytes; lut8 uses half of them. */
export const TABLE_BYTES_PER_INPUT = 8;
/**
 * Largest |sum of a group| after inputs are rounded to 16-bit integers, four roundings of 1/2 aside. The sum itself is then
 * rounded to 8 or 12 bits: one coarse rounding a group instead of one an input halves the error. Small enough that the sum
 * rounds to at most 127 (lut8) or 2031 (lut12).
 */
export const TABLE_LIMIT = 32500;
/** Tokens that the sign GEMM takes at once, one a lane. */
export const GEMM_LANES = 16;
/** Inputs of the sign GEMM that share one step size (for each token). */
export const GEMM_BLOCK = 128;
/** Largest |sum| of a block, in steps: 16 bits with room for the roundings of its 32 groups. */
export const GEMM_LIMIT = 32700;
/** Most rows that one thread sums at once: bounds its scratch memory. */
export const GEMM_MAX_ROWS = 2048;
/** Scratch memory of the sign GEMM: steps, entries, byte tables; and for each row 16 short and 16 long sums. */
export const GEMM_SCRATCH = 49408;
export const GEMM_ROW_SCRATCH = 96;
/** Keys of a block of the KV cache, and keys that attention scores before it rescales its running sum. */
export const KEY_BLOCK = 32;
/** Floats a head is padded to in the KV cache. */
export const HEAD_PAD = 8;
/** Longest tile of tokens that the control block has room for. */
export const MAX_TILE = 256;

// ---- control block: byte addresses ----
export const CTRL_BARRIER_COUNT = 1024;
export const CTRL_BARRIER_GENERATION = 1088;
export const CTRL_SLEEPERS = 1152;
/** Becomes 1 when a thread died: whoever waits for it gives up. */
export const CTRL_FAILED = 1216;
/** First instruction to run, byte address. */
export const CTRL_PROGRAM_START = 1284;
/** One past the last instruction, byte address. */
export const CTRL_PROGRAM_END = 1288;
export const CTRL_THREADS = 1292;
/** Tokens in this tile. */
export const CTRL_TOKENS = 1296;
/** Position of the tile's first token. */
export const CTRL_POSITION = 1300;
/** First token of the tile whose logits are wanted. */
export const CTRL_HEAD_FIRST = 1304;
/** How many of the largest logits are wanted instead of all of them; 0 for all. */
export const CTRL_SHORTLIST = 1320;
/** Scratch memory of thread t starts at CTRL_SCRATCH + t * CTRL_SCRATCH_STRIDE. */
export const CTRL_SCRATCH = 1308;
export const CTRL_SCRATCH_STRIDE = 1312;
/** 16 bytes of 0x0f: a mask read from memory stays in a register, a constant is rebuilt at each use by some engines. */
export const CTRL_NIBBLE_MASK = 1344;
/** i32 ids of the tile. */
export const CTRL_TOKEN_IDS = 2048;
/** A cache line for every serving thread, which alone waits on it. */
export const CTRL_MAILBOXES = 3072;
export const MAILBOX_BYTES = 64;
/** Most threads of a model. */
export const MAX_THREADS = 64;
/** In a mailbox, byte offsets: dispatches that its thread took part in, counted. */
export const BOX_COMMAND = 0;
/** 1 while the thread sleeps, or is about to. */
export const BOX_ASLEEP = 4;
/** 1: with the next command the thread ends. */
export const BOX_QUIT = 8;
/** First free byte. */
export const CTRL_END = 7168;

// ---- instructions: words of 32 bits, word 0 is the opcode ----
export const INSTRUCTION_WORDS = 24;
export const INSTRUCTION_BYTES = 96;

export const OP_BARRIER = 0;
export const OP_EMBED = 1;
export const OP_NORM = 2;
export const OP_DENSE = 3;
export const OP_SIGN_TABLES = 4;
export const OP_SIGN_PRODUCT = 5;
export const OP_HEADS = 6;
export const OP_ATTENTION = 7;
export const OP_ACTIVATE = 8;
export const OP_ADD = 9;
export const OP_MULTIPLY = 10;
/** The words of OP_SIGN_MULTIPLY up to S_IN_SCALE. */
export const OP_SIGN_GEMM = 11;
export const OP_STORE_KV = 12;
export const OP_ATTEND_TOKEN = 13;
export const OP_SKETCH_ROWS = 15;
export const OP_SKETCH_ESTIMATE = 16;
export const OP_SKETCH_RESCORE = 17;
export const OP_SIGN_MULTIPLY = 19;
export const OP_SIGN_ROWS = 20;
export const OP_HEAD_NORM = 21;
export const OP_SCALE = 22;
export const OP_SOFTCAP = 23;
export const OP_POSITIONS = 24;

// Loading: stored bytes in a staging area become weights. Numbered apart, because a forward pass has none of them.
export const OP_PACK_SIGNS = 32;
export const OP_WIDEN = 33;
export const OP_COPY_ROWS = 34;
export const OP_LEVELS = 35;
export const OP_TIMES_BASE = 36;
export const OP_SHIFT = 37;

/** Words that mean the same wherever they occur: byte addresses of f32 rows, strides in floats. */
export const W_SRC = 1;
export const W_SRC_STRIDE = 2;
export const W_DST = 3;
export const W_DST_STRIDE = 4;

// dtype codes
export const DTYPE_F32 = 0;
export const DTYPE_F16 = 1;
export const DTYPE_BF16 = 2;
export const DTYPE_I8 = 3;
export const DTYPE_I4 = 4;
/** Four codes a byte, first column in the lowest bits; code - 3 / 2 is what the row scale multiplies, so no code is zero. */
export const DTYPE_I2 = 5;

// OP_EMBED and OP_DENSE: [rows, cols] matrix
export const M_WEIGHTS = 5;
export const M_DTYPE = 6;
export const M_ROWS = 7;
/** Padded to DENSE_COL_PAD. */
export const M_COLS = 8;
export const M_ROW_BYTES = 9;
/** f32 [rows padded to 4], i8, i4 and i2 only. */
export const M_ROW_SCALES = 10;
/** f32 [rows padded to 4] or 0. */
export const M_BIAS = 11;
/** f32 rows added to the product (same stride as dst), or 0. */
export const M_RESIDUAL = 12;
/** 1: only the tokens from CTRL_HEAD_FIRST on. */
export const M_HEAD_ONLY = 13;

/** Columns without padding; what a row reads beyond them is no weight. Needed for i2 alone, whose padding is not zero. */
export const M_WIDTH = 15;

// OP_POSITIONS: dst = src + rows of a [rows, cols] matrix of floats, one for each position; the words of OP_DENSE up to M_ROW_BYTES and
/** Row of position 0. */
export const M_FIRST_ROW = 16;

// OP_SKETCH_ROWS, OP_SKETCH_ESTIMATE, OP_SKETCH_RESCORE: src = x, the words of OP_DENSE, and
/** Address of the sketch: the words below. */
export const M_SKETCH = 14;

// ---- sketch of a matrix (the idea is told in assembly/sketch-rows.ts); words from its address on ----
/** Sign planes: 1 or 2. */
export const Q_PLANES = 0;
/** Directions whose products with the rows are known, a multiple of 4; the centre not counted. */
export const Q_DIRECTIONS = 1;
/** f32: standard deviations that an error may have. */
export const Q_DEVIATIONS = 2;
/** Bit planes: for every 16 rows cols / 8 vectors of 16 bytes. */
export const Q_PLANE = 3;
export const Q_SECOND_PLANE = 4;
/** i8, for every 16 rows [directions / 2][16][2]. */
export const Q_COEFFICIENTS = 5;
/** f32, for every 16 rows [SKETCH_PARAMETERS][16]. */
export const Q_PARAMETERS = 6;
/** f32 [1 + directions, cols]: the centre of the rows, then the directions; orthonormal. */
export const Q_BASIS = 7;
/** f32 [2 or 4, cols]: signs of the rotation with its scale. */
export const Q_TURNS = 8;
/** f32 [rows padded to 16] */
export const Q_ESTIMATES = 9;
/** Work memory of thread t starts at Q_WORK + t * Q_WORK_BYTES. */
export const Q_WORK = 10;
export const Q_WORK_BYTES = 11;
/** Lists of thread t start at Q_LISTS + t * Q_LIST_BYTES: picks, first results, final results. */
export const Q_LISTS = 12;
export const Q_LIST_BYTES = 13;
/** Becomes 1 where a row is not finite: the sketch is of no use then. */
export const Q_DAMAGED = 14;
export const SKETCH_WORDS = 16;

/** Rows that a sketch takes at once. */
export const SKETCH_TILE = 16;
/** Tiles that are dealt to a thread together. */
export const SKETCH_DEAL = 32;
/** Inputs whose table entries share a step. */
export const SKETCH_BLOCK = 1024;
/** Most results that may be asked for. */
export const SHORTLIST_MAX = 1024;
/** Rows that are rescored at once to begin with, at least. */
export const SKETCH_PICKS = 16;
// Parameters of 16 rows: product with the centre, step of the coefficients, scale and deviation of the first plane, of both
// planes, rounding.
export const Y_CENTRE = 0;
export const Y_STEP = 1;
export const Y_SCALE = 2;
export const Y_DEVIATION = 3;
export const Y_SCALE_BOTH = 4;
export const Y_DEVIATION_BOTH = 5;
export const Y_ROUNDING = 6;
export const SKETCH_PARAMETERS = 7;
// Work memory of a thread, byte offsets: sums of a tile twice, what x was found to be, codes and products of the directions;
// then x itself, its tables and their steps.
export const WORK_SUMS = 0;
export const WORK_OTHER_SUMS = 64;
/** f32: product of x with the centre. */
export const WORK_CENTRE = 128;
/** f32: step of the products of x with the directions. */
export const WORK_STEP = 132;
/** f32: what a row's deviation, its rounding and its scale are multiplied by to give its margin. */
export const WORK_REST = 136;
export const WORK_ROUNDING = 140;
export const WORK_TABLES = 144;
/** i32 [4] rows that wait to be rescored, and their number. */
export const WORK_WAITING = 160;
export const WORK_WAITING_COUNT = 176;
/** i16 [SKETCH_DIRECTIONS_MAX] */
export const WORK_CODES = 192;
/** f32 [2 * SKETCH_DIRECTIONS_MAX] */
export const WORK_PRODUCTS = 320;
export const WORK_VECTOR = 832;
export const SKETCH_DIRECTIONS_MAX = 64;
/** A list: words count, rescored rows, two unused; then (f32 value, i32 row) pairs, a heap with the least on top. */
export const LIST_HEAD_BYTES = 16;

// OP_NORM
export const N_KIND = 5;
export const N_FEATURES = 6;
/** f32 [stride], zero beyond the features. */
export const N_WEIGHT = 7;
/** The same, or 0. */
export const N_BIAS = 8;
/** f32 */
export const N_EPS = 9;
/** f32 rows added to the result (stride of dst), or 0. */
export const N_RESIDUAL = 10;
/** As T_ROTATE. */
export const N_ROTATE = 11;
// OP_HEAD_NORM: an RMS norm of each head of a row; N_FEATURES of a head, N_WEIGHT f32 [N_FEATURES], N_EPS and
/** Heads of a row. */
export const N_HEADS = 5;

export const NORM_RMS = 0;
export const NORM_LAYER = 1;

// OP_SIGN_TABLES: dst = tables, W_DST_STRIDE in BYTES a token; after the tables come the f32 step sizes of the blocks
/** Inputs, padded to SIGN_CHUNK. */
export const T_COLS = 5;
/** f32 [cols padded] multiplied into the input, or 0. */
export const T_SCALE = 6;
/** Adds to the thread id when units are dealt, so that neighbours do not all load thread 0. */
export const T_ROTATE = 7;
/** Tables of so many terms, T_SCALE [terms, cols padded]; 0 counts as 1. */
export const T_TERMS = 8;
/** From the tables of a term to those of the next. */
export const T_TERM_BYTES = 9;

// OP_SIGN_PRODUCT: src = tables (stride in BYTES), dst f32
export const S_WEIGHTS = 5;
/** Rows, padded to SIGN_ROW_TILE. */
export const S_ROWS = 6;
export const S_COLS = 7;
/** f32 [rows padded to ROW_PAD], zero beyond the rows. */
export const S_SCALE = 8;
/** f32 [rows padded] or 0. */
export const S_BIAS = 9;
/** f32 rows (same stride as dst) or 0. */
export const S_RESIDUAL = 10;
/** 1: add to what dst holds. */
export const S_ACCUMULATE = 11;
/**
 * Terms of the sum `sum_j scale_j o S (inScale_j o x)` over the same signs; 0 counts as 1. S_SCALE is [terms, rows padded to
 * ROW_PAD], S_IN_SCALE [terms, cols padded], and tables of a term follow those of the one before after S_TERM_BYTES.
 */
export const S_TERMS = 13;
/** OP_SIGN_GEMM: 1: only the tokens from CTRL_HEAD_FIRST on. */
export const S_HEAD_ONLY = 14;
export const S_TERM_BYTES = 15;
/**
 * Which threads work on this product, so that the products of a level are dealt rather than each cut: two fractions of the
 * threads in units of 1 / SHARE_UNITS, from in the upper and to in the lower half; 0 for all threads.
 */
export const S_SHARE = 22;
export const SHARE_UNITS = 32768;

// OP_SIGN_MULTIPLY: tables and product in one, each thread making its own tables; src f32, words of OP_SIGN_PRODUCT and
/** f32 [cols padded] multiplied into the input, or 0. */
export const S_IN_SCALE = 12;

// OP_SIGN_ROWS: dst [tokens, rank] = rows of a packed sign matrix for the ids of the tile, each times what its envelope says:
// row id of S o sum_i scale_i mid_i^T
/** Packed as for OP_SIGN_PRODUCT. */
export const R_WEIGHTS = 5;
/** Columns of the matrix, padded to SIGN_CHUNK. */
export const R_COLS = 6;
/** Columns without padding. */
export const R_RANK = 7;
/** f32 [terms, R_SCALE_STRIDE] */
export const R_SCALE = 8;
export const R_SCALE_STRIDE = 9;
/** f32 [terms, R_COLS], or 0 for ones. */
export const R_MID = 10;
export const R_TERMS = 11;
/** As T_ROTATE. */
export const R_ROTATE = 12;

// OP_SIGN_TABLES, OP_SIGN_PRODUCT and OP_SIGN_MULTIPLY
/** Bits that a group's sum is rounded to. */
export const S_PRECISION = 21;
export const LUT12 = 0;
export const LUT8 = 1;
export const LUT16 = 2;

// OP_SIGN_TABLES and OP_SIGN_MULTIPLY: what is done to the input first
export const I_KIND = 16;
/** I_RMS: f32 weight, zero beyond the features. I_ACTIVATION: f32 rows multiplied into the result (stride of src), or 0. */
export const I_OTHER = 17;
/** I_RMS: f32 */
export const I_EPS = 18;
/** I_RMS: features of a row. */
export const I_FEATURES = 19;
/** I_ACTIVATION: as X_KIND. */
export const I_FUNCTION = 20;
export const I_PLAIN = 0;
export const I_RMS = 1;
export const I_ACTIVATION = 2;

// OP_HEADS: rotates heads from rows of src to rows of dst
export const H_HEADS = 5;
export const H_HEAD_DIM = 6;
/** Leading features of a head that are rotated, even; the others are copied. */
export const H_ROTARY = 7;
/** f32 [positions, H_ROTARY / 2] */
export const H_COS = 8;
export const H_SIN = 9;

// OP_STORE_KV (new keys and values into the cache), OP_ATTENTION (a tile whose keys and values are there already) and
// OP_ATTEND_TOKEN (both for one token): src = queries, dst = mixed values. Queries and keys come before the rotary embedding.
// A cache holds [kvHeads, capacity / KEY_BLOCK] blocks. With D = headDim padded to HEAD_PAD, a block of keys is [D, 32] and one
// of values [32, D] numbers of `SH_KV_BITS` bits. 8-bit blocks interleave the two neighbours along their outer axis,
// [D / 2, 32, 2] and [16, D, 2], and end with f32 [32] step sizes, one a position.
/** New keys and values, f32 rows. */
export const A_NEW_KEYS = 5;
export const A_NEW_VALUES = 6;
/** Floats from row to row of both. */
export const A_NEW_STRIDE = 7;
/** Caches of this layer. */
export const A_KEYS = 8;
export const A_VALUES = 9;
/** What all layers of a kind share: the words below. */
export const A_SHAPE = 10;
/** OP_ATTEND_TOKEN: states of parts of heads, ATTENTION_PARTS_LONG * heads of them. */
export const A_PARTS = 11;

// the words that A_SHAPE points to
export const SH_HEADS = 0;
export const SH_KV_HEADS = 1;
export const SH_HEAD_DIM = 2;
/** Leading features of a head that are rotated, even. */
export const SH_ROTARY = 3;
/** Positions of the cache, a multiple of KEY_BLOCK. */
export const SH_CAPACITY = 4;
/** f32, what multiplies q k^T times log2(e): weights are powers of two. */
export const SH_SCALE = 5;
/** f32 [capacity, SH_ROTARY / 2] */
export const SH_COS = 6;
export const SH_SIN = 7;
/** 32 (f32), 16 (f16) or 8 (integers). */
export const SH_KV_BITS = 8;
/** i32 [kvHeads], zero between instructions: parts of a head that are done. */
export const SH_COUNTERS = 9;
/** Positions that a query sees, its own included; 0 for all before it. */
export const SH_WINDOW = 10;
/**
 * f32, 0 for none: scores s become cap * tanh(s / cap). Holds cap * log2(e), and SH_SCALE then what multiplies q k^T divided by cap.
 */
export const SH_SOFTCAP = 11;
export const SHAPE_BYTES = 64;

/**
 * The blocks of all kv heads of a token, in a row, are cut into so many equal parts, which are dealt to threads: a number of
 * its own, so that results do not depend on threads. More where the context is long.
 */
export const ATTENTION_PARTS = 4;
export const ATTENTION_PARTS_LONG = 8;
/** Blocks from which on the context is long. */
export const ATTENTION_LONG = 128;
/** Query rows that a tile of attention takes at once, where heads do not share more. */
export const ATTENTION_ROWS = 32;
/** Bytes of a row's state before its mixed values: largest score, sum of weights, what to rescale by, two step sizes. */
export const STATE_HEAD = 32;
export const STATE_LARGEST = 0;
export const STATE_TOTAL = 4;
export const STATE_KEEP = 8;
export const STATE_QUERY_STEP = 12;
export const STATE_WEIGHT_STEP = 16;

// OP_ACTIVATE: dst = act(src) (* gate partner); all strides W_SRC_STRIDE
export const X_KIND = 5;
/** Rows multiplied into the result, or 0. */
export const X_TIMES = 6;
export const ACT_SILU = 0;
export const ACT_GELU = 1;
export const ACT_GELU_TANH = 2;
export const ACT_RELU = 3;

// OP_ADD, OP_MULTIPLY: dst = src (op) other; all strides W_SRC_STRIDE
export const E_OTHER = 5;

// OP_SCALE: dst = src * factor; OP_SOFTCAP: dst = factor * tanh(src / factor); strides W_SRC_STRIDE
/** f32 */
export const G_FACTOR = 5;
/** OP_SOFTCAP: 1: only the tokens from CTRL_HEAD_FIRST on, and none where a shortlist is asked for. */
export const G_HEAD_ONLY = 6;

// OP_PACK_SIGNS, OP_WIDEN, OP_COPY_ROWS: src = stored bytes (any alignment), dst = where they belong
/** Becomes 1 where the stored bytes are not what the format allows: set padding, a scale that is not finite. */
export const L_DAMAGED = 15;

// OP_PACK_SIGNS: rows of signs, 32 a word, as the file has them
/** Rows stored here: a multiple of 32 but for the last part of a matrix. */
export const P_ROWS = 5;
/** Signs of a stored row; beyond them its last word must be clear. */
export const P_COLS = 6;
/** 1: the stored rows are columns of the matrix. */
export const P_TRANSPOSED = 7;
/** Bytes from one tile of the packed matrix to the next. */
export const P_TILE_BYTES = 8;

// OP_WIDEN: 16 or 32-bit floats to f32
export const V_COUNT = 5;
/** DTYPE_F32, DTYPE_F16 or DTYPE_BF16 */
export const V_DTYPE = 6;
/** 1: infinities and NaNs are damage. */
export const V_FINITE = 7;

// OP_LEVELS: f32 dst[i] = level of the code in byte i; V_COUNT and
/** f32 [256] */
export const V_LEVELS = 6;

// OP_SHIFT: f32 dst[i] += V_BY; V_COUNT and
/** f32 */
export const V_BY = 6;

// OP_TIMES_BASE: f32 dst[i] = dst[i] * base + 0, src = the f32 base; V_COUNT

// OP_COPY_ROWS: rows of bytes that are padded in memory
export const C_ROWS = 5;
export const C_SRC_BYTES = 6;
export const C_DST_BYTES = 7;
/** What padding bytes hold. */
export const C_FILL = 8;
/** What the upper half of each row's last stored byte becomes, in place; 0 to leave it. */
export const C_UPPER = 9;
