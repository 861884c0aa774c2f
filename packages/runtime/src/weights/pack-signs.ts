/**
 * Sign matrices into the order the sign kernel reads (notes at assembly/sign-product.ts): 16 rows a tile, 16-byte vectors of
 * two 4-bit codes a row. The code of the signs b0..b3 (1 = minus) of a group is its bits as they stand when b3 is plus; when
 * b3 is minus all four are flipped and bit 3 is set, because table entry 8 + i is minus entry i.
 */
import type { SignMatrix } from "@subbit/core";
import { SIGN_CHUNK, SIGN_ROW_TILE } from "../abi.js";

/** Bytes of a packed [rows, cols] sign matrix. */
export function packedSignBytes(rows: number, cols: number): number {
  const tiles = Math.ceil(rows / SIGN_ROW_TILE);
  return tiles * Math.ceil(cols / SIGN_CHUNK) * 64;
}

/** Bit i of a byte -> bit 4 i. */
const SPREAD = Uint32Array.from({ length: 256 }, (_, byte) => {
  let spread = 0;
  for (let i = 0; i < 8; i++) spread |= ((byte >> i) & 1) << (4 * i);
  return spread;
});

/** Writes the packed form of `signs` to `out`, [packedSignBytes(rows, cols)]. Rows and columns of padding are +1. */
export function packSigns(signs: SignMatrix, out: Uint8Array): void {
  const chunks = Math.ceil(signs.cols / SIGN_CHUNK);
  const tiles = Math.ceil(signs.rows / SIGN_ROW_TILE);
  for (let tile = 0; tile < tiles; tile++) {
    for (let r = 0; r < SIGN_ROW_TILE; r++) {
      const lane = r < 8 ? 2 * r : 2 * (r - 8) + 1;
      const row = tile * SIGN_ROW_TILE + r;
      for (let chunk = 0; chunk < chunks; chunk++) {
        const word = row < signs.rows ? signs.words[row * chunks + chunk] : 0;
        const last = word >>> 24;
        const flip = (shift: number): number => SPREAD[((word >>> shift) & 255) ^ last];
        // Eight 4-bit codes, group j at bit 4 j: byte p holds groups 2p and 2p + 1.
        const codes = flip(0) | (flip(8) << 1) | (flip(16) << 2) | (SPREAD[last] << 3);
        const at = (tile * chunks + chunk) * 64 + lane;
        out[at] = codes;
        out[at + 16] = codes >>> 8;
        out[at + 32] = codes >>> 16;
        out[at + 48] = codes >>> 24;
      }
    }
  }
}
