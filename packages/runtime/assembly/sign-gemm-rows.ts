// The inner loops of the sign GEMM: look up the codes of every row, add 16-bit lanes. One row's 16 tokens are two vectors.

/** out[16] += step o (16-bit sums), both by lane. */
// @ts-ignore: decorator
@inline
function flush(a: v128, b: v128, s0: v128, s1: v128, s2: v128, s3: v128, out: usize): void {
  v128.store(out, f32x4.add(v128.load(out), f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(a)), s0)));
  v128.store(
    out,
    f32x4.add(v128.load(out, 16), f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(a)), s1)),
    16,
  );
  v128.store(
    out,
    f32x4.add(v128.load(out, 32), f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(b)), s2)),
    32,
  );
  v128.store(
    out,
    f32x4.add(v128.load(out, 48), f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(b)), s3)),
    48,
  );
}

/**
 * Few rows, two at a time: two lookups a byte among the 16 entries of its groups, for all chunks of a block.
 *
 * @param w packed signs of the block in the first row tile
 * @param entries [group][code][lane], 16 bits
 * @param out [row tile][byte of a vector of signs][lane] f32, added to
 */
export function nibbleRows(
  w: usize,
  tileBytes: usize,
  tiles: i32,
  entries: usize,
  chunks: i32,
  steps: usize,
  out: usize,
): void {
  for (let tile = 0; tile < tiles; tile++) {
    for (let lane: usize = 0; lane < 16; lane += 2) {
      let a = i64x2.splat(0), b = a, c = a, d = a;
      let at = w + lane, table = entries;
      for (let end = at + (<usize>chunks << 6); at < end; at += 16) {
        const code = <usize>load<u8>(at), next = <usize>load<u8>(at, 1);
        let p = table + ((code & 15) << 5), q = table + ((next & 15) << 5);
        a = i16x8.add(a, v128.load(p));
        b = i16x8.add(b, v128.load(p, 16));
        c = i16x8.add(c, v128.load(q));
        d = i16x8.add(d, v128.load(q, 16));
        p = table + ((code >> 4) << 5);
        q = table + ((next >> 4) << 5);
        a = i16x8.add(a, v128.load(p, 512));
        b = i16x8.add(b, v128.load(p, 528));
        c = i16x8.add(c, v128.load(q, 512));
        d = i16x8.add(d, v128.load(q, 528));
        table += 1024;
      }
      // Loaded here, the steps leave their registers to the loop above.
      const s0 = v128.load(steps), s1 = v128.load(steps, 16), s2 = v128.load(steps, 32), s3 = v128.load(steps, 48);
      flush(a, b, s0, s1, s2, s3, out);
      flush(c, d, s0, s1, s2, s3, out + 64);
      out += 128;
    }
    w += tileBytes;
  }
}

/** All sums of a low and a high group: the 256 entries of each of the four bytes of a chunk. */
export function pairTables(entries: usize, tables: usize): void {
  for (let end = tables + 4 * 8192; tables < end; entries += 512) {
    const lows = entries;
    entries += 512;
    for (let high = entries, last = entries + 512; high < last; high += 32) {
      const c = v128.load(high), d = v128.load(high, 16);
      for (let low = lows; low < lows + 512; low += 128) {
        v128.store(tables, i16x8.add(c, v128.load(low)));
        v128.store(tables, i16x8.add(d, v128.load(low, 16)), 16);
        v128.store(tables, i16x8.add(c, v128.load(low, 32)), 32);
        v128.store(tables, i16x8.add(d, v128.load(low, 48)), 48);
        v128.store(tables, i16x8.add(c, v128.load(low, 64)), 64);
        v128.store(tables, i16x8.add(d, v128.load(low, 80)), 80);
        v128.store(tables, i16x8.add(c, v128.load(low, 96)), 96);
        v128.store(tables, i16x8.add(d, v128.load(low, 112)), 112);
        tables += 128;
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function bytePass(
  w: usize,
  tileBytes: usize,
  tiles: i32,
  tables: usize,
  partial: usize,
  first: bool,
  last: bool,
  steps: usize,
  out: usize,
): void {
  const s0 = v128.load(steps), s1 = v128.load(steps, 16), s2 = v128.load(steps, 32), s3 = v128.load(steps, 48);
  for (let tile = 0; tile < tiles; tile++) {
    for (let end = w + 16; w < end; w++) {
      let p = tables + (<usize>load<u8>(w) << 5);
      let a = v128.load(p), b = v128.load(p, 16);
      if (!first) {
        a = i16x8.add(a, v128.load(partial));
        b = i16x8.add(b, v128.load(partial, 16));
      }
      p = tables + (<usize>load<u8>(w, 16) << 5);
      a = i16x8.add(a, v128.load(p, 8192));
      b = i16x8.add(b, v128.load(p, 8208));
      p = tables + (<usize>load<u8>(w, 32) << 5);
      a = i16x8.add(a, v128.load(p, 16384));
      b = i16x8.add(b, v128.load(p, 16400));
      p = tables + (<usize>load<u8>(w, 48) << 5);
      a = i16x8.add(a, v128.load(p, 24576));
      b = i16x8.add(b, v128.load(p, 24592));
      if (last) {
        flush(a, b, s0, s1, s2, s3, out);
        out += 64;
      } else {
        v128.store(partial, a);
        v128.store(partial, b, 16);
      }
      partial += 32;
    }
    w += tileBytes - 16;
  }
}

// prettier-ignore
function byteFirst(w: usize, tileBytes: usize, tiles: i32, tables: usize, partial: usize, steps: usize, out: usize): void {
  bytePass(w, tileBytes, tiles, tables, partial, true, false, steps, out);
}
// prettier-ignore
function byteNext(w: usize, tileBytes: usize, tiles: i32, tables: usize, partial: usize, steps: usize, out: usize): void {
  bytePass(w, tileBytes, tiles, tables, partial, false, false, steps, out);
}
// prettier-ignore
function byteLast(w: usize, tileBytes: usize, tiles: i32, tables: usize, partial: usize, steps: usize, out: usize): void {
  bytePass(w, tileBytes, tiles, tables, partial, false, true, steps, out);
}
// prettier-ignore
function byteOnly(w: usize, tileBytes: usize, tiles: i32, tables: usize, partial: usize, steps: usize, out: usize): void {
  bytePass(w, tileBytes, tiles, tables, partial, true, true, steps, out);
}

/**
 * Many rows: one chunk, one lookup a byte among the 256 entries of its two groups.
 *
 * @param first whether `partial` holds nothing yet
 * @param last whether the block ends here: the sums go to `out`, otherwise they stay in `partial`
 */
export function byteRows(
  w: usize,
  tileBytes: usize,
  tiles: i32,
  tables: usize,
  partial: usize,
  first: bool,
  last: bool,
  steps: usize,
  out: usize,
): void {
  if (first) {
    if (last) byteOnly(w, tileBytes, tiles, tables, partial, steps, out);
    else byteFirst(w, tileBytes, tiles, tables, partial, steps, out);
  } else {
    if (last) byteLast(w, tileBytes, tiles, tables, partial, steps, out);
    else byteNext(w, tileBytes, tiles, tables, partial, steps, out);
  }
}
