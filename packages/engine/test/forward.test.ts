/** The results of the ops against slow obvious formulas on fresh random data, odd sizes included. */
import { describe, expect, it } from "vitest";
import { ops, type Value } from "../src/index.js";
import { evaluate, expectClose, randomNormal, randomSource } from "./support.js";

/** Fresh data every time; the seed stands in the titles, to repeat a failure with. */
const seed = Date.now() % 100000;
const random = randomSource(seed);
const data = (...shape: number[]): { shape: number[]; data: Float32Array } => ({
  shape,
  data: randomNormal(
    shape.reduce((a, b) => a * b, 1),
    random,
  ),
});

/** erf by its series, good to double precision for |x| < 4. */
function erf(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; n < 120; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

describe(`elementwise (seed ${seed})`, () => {
  const unary: Record<string, [(x: Value) => Value, (x: number) => number]> = {
    neg: [ops.neg, (x) => -x],
    exp: [ops.exp, Math.exp],
    "log of a square": [(x) => ops.log(ops.square(x)), (x) => Math.log(x * x)],
    "sqrt of abs": [(x) => ops.sqrt(ops.abs(x)), (x) => Math.sqrt(Math.abs(x))],
    "rsqrt of x^2 + 1": [(x) => ops.rsqrt(ops.add(ops.square(x), 1)), (x) => 1 / Math.sqrt(x * x + 1)],
    "reciprocal of x^2 + 1": [(x) => ops.reciprocal(ops.add(ops.square(x), 1)), (x) => 1 / (x * x + 1)],
    tanh: [ops.tanh, Math.tanh],
    sigmoid: [ops.sigmoid, sigmoid],
    sign: [ops.sign, Math.sign],
    relu: [ops.relu, (x) => Math.max(0, x)],
    erf: [ops.erf, erf],
    silu: [ops.silu, (x) => x * sigmoid(x)],
    gelu: [ops.gelu, (x) => (x / 2) * (1 + erf(x / Math.SQRT2))],
    geluTanh: [
      ops.geluTanh,
      (x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
    ],
    clip: [(x) => ops.clip(x, -0.5, 0.75), (x) => Math.min(0.75, Math.max(-0.5, x))],
    "numbers on either side": [(x) => ops.sub(3, ops.div(x, 2)), (x) => 3 - x / 2],
    "where and less": [(x) => ops.where(ops.less(x, 0), ops.mul(x, 2), 5), (x) => (x < 0 ? 2 * x : 5)],
    signSte: [(x) => ops.signSte(x, { kind: "clipped" }), (x) => (x < 0 ? -1 : 1)],
  };
  for (const [name, [op, twin]] of Object.entries(unary)) {
    it(name, async () => {
      const x = data(5, 7);
      const got = await evaluate([x], op);
      expect(got.shape).toEqual([5, 7]);
      expectClose(got.data, Array.from(x.data, twin));
    });
  }

  it("broadcasts as NumPy does", async () => {
    const [a, b] = [data(3, 1, 5), data(4, 1)];
    const got = await evaluate([a, b], (x, y) => ops.maximum(ops.mul(x, y), ops.minimum(x, ops.sub(y, x))));
    expect(got.shape).toEqual([3, 4, 5]);
    const want = Array.from({ length: 60 }, (_, at) => {
      const x = a.data[Math.floor(at / 20) * 5 + (at % 5)];
      const y = b.data[Math.floor(at / 5) % 4];
      return Math.max(x * y, Math.min(x, y - x));
    });
    expectClose(got.data, want);
  });
});

describe(`reductions (seed ${seed})`, () => {
  it("sum, mean, max and argMax along axes", async () => {
    const x = data(3, 4, 5);
    const at = (i: number, j: number, k: number): number => x.data[(i * 4 + j) * 5 + k];
    const range = (n: number): number[] => [...Array(n).keys()];
    const rows = range(4).map((j) => range(3).flatMap((i) => range(5).map((k) => at(i, j, k))));
    const sum = (list: number[]): number => list.reduce((a, b) => a + b, 0);
    const summed = await evaluate([x], (v) => ops.reduceSum(v, [0, -1]));
    expect(summed.shape).toEqual([4]);
    expectClose(summed.data, rows.map(sum));
    expectClose(
      (await evaluate([x], (v) => ops.reduceMean(v, [0, 2]))).data,
      rows.map((row) => sum(row) / 15),
    );
    const max = await evaluate([x], (v) => ops.reduceMax(v, [0, 2], { keepDims: true }));
    expect(max.shape).toEqual([1, 4, 1]);
    expectClose(
      max.data,
      rows.map((row) => Math.max(...row)),
    );
    expectClose((await evaluate([x], (v) => ops.reduceSum(v))).data, [sum(Array.from(x.data))]);
    const arg = await evaluate([x], (v) => ops.argMax(v, 2));
    const last = range(12).map((row) => Array.from(x.data.subarray(row * 5, row * 5 + 5)));
    expect(arg.data).toEqual(last.map((row) => row.indexOf(Math.max(...row))));
  });
});

describe(`moving elements (seed ${seed})`, () => {
  it("transpose, slice, pad, concat", async () => {
    const x = data(2, 3, 4);
    const at = (i: number, j: number, k: number): number => x.data[(i * 3 + j) * 4 + k];
    const turned = await evaluate([x], (v) => ops.transpose(v, [1, 2, 0]));
    expect(turned.shape).toEqual([3, 4, 2]);
    expect(turned.data).toEqual(
      Array.from({ length: 24 }, (_, n) => at(n % 2, Math.floor(n / 8), Math.floor(n / 2) % 4)),
    );
    const cut = await evaluate([x], (v) => ops.pad(ops.slice(v, 1, 1), 2, 1, 0));
    expect(cut.shape).toEqual([2, 2, 5]);
    const cutWant = Array.from({ length: 20 }, (_, n) =>
      n % 5 === 0 ? 0 : at(Math.floor(n / 10), 1 + (Math.floor(n / 5) % 2), (n % 5) - 1),
    );
    expect(cut.data).toEqual(cutWant);
    const joined = await evaluate([x], (v) => ops.concat([ops.slice(v, 0, 1), v], 0));
    expect(joined.data).toEqual([...x.data.subarray(12), ...x.data]);
  });

  it("gather, scatterAdd, oneHot, takeAlong", async () => {
    const table = data(5, 3);
    const ids = { shape: [2, 2], data: Int32Array.of(4, 0, 4, 2) };
    const row = (id: number): number[] => Array.from(table.data.subarray(id * 3, id * 3 + 3));
    const gathered = await evaluate([table, ids], ops.gather);
    expect(gathered.shape).toEqual([2, 2, 3]);
    expect(gathered.data).toEqual([4, 0, 4, 2].flatMap(row));
    const scattered = await evaluate([ids, data(2, 2, 1)], (i, x) =>
      ops.scatterAdd(ops.add(ops.mul(x, 0), 1), i, 6),
    );
    expect(scattered.data).toEqual([1, 0, 1, 0, 2, 0]);
    const wide = { shape: [2], data: BigInt64Array.of(2n, 0n) };
    expect((await evaluate([wide], (i) => ops.oneHot(i, 3))).data).toEqual([0, 0, 1, 1, 0, 0]);
    const taken = await evaluate([table, { shape: [5], data: Int32Array.of(2, 1, 0, 1, 2) }], ops.takeAlong);
    expect(taken.data).toEqual([2, 4, 6, 10, 14].map((at) => table.data[at]));
  });
});

describe(`products (seed ${seed})`, () => {
  for (const transA of [false, true]) {
    for (const transB of [false, true]) {
      it(`matmul of matrices and batches, transA ${transA}, transB ${transB}`, async () => {
        const [m, k, n] = [7, 5, 3];
        for (const [batchA, batchB] of [
          [1, 1],
          [4, 4],
          [1, 4],
        ] as const) {
          const a = data(...(batchA > 1 ? [batchA] : []), ...(transA ? [k, m] : [m, k]));
          const b = data(...(batchB > 1 ? [batchB] : []), ...(transB ? [n, k] : [k, n]));
          const got = await evaluate([a, b], (x, y) => ops.matmul(x, y, { transA, transB }));
          const batch = Math.max(batchA, batchB);
          expect(got.shape).toEqual([...(batch > 1 ? [batch] : []), m, n]);
          const want = Array.from({ length: batch * m * n }, (_, at) => {
            const [i, j, z] = [Math.floor(at / n) % m, at % n, Math.floor(at / (m * n))];
            let sum = 0;
            for (let q = 0; q < k; q++) {
              const left = a.data[(batchA > 1 ? z : 0) * m * k + (transA ? q * m + i : i * k + q)];
              sum += left * b.data[(batchB > 1 ? z : 0) * n * k + (transB ? j * k + q : q * n + j)];
            }
            return sum;
          });
          expectClose(got.data, want);
        }
      });
    }
  }

  it("linear is W x + bias", async () => {
    const [x, w, bias] = [data(2, 3, 4), data(5, 4), data(5)];
    const got = await evaluate([x, w, bias], (a, b, c) => ops.linear(a, b, c));
    expect(got.shape).toEqual([2, 3, 5]);
    const want = Array.from({ length: 30 }, (_, at) => {
      let sum = bias.data[at % 5];
      for (let k = 0; k < 4; k++) sum += x.data[Math.floor(at / 5) * 4 + k] * w.data[(at % 5) * 4 + k];
      return sum;
    });
    expectClose(got.data, want);
  });
});

describe(`normalisations and losses (seed ${seed})`, () => {
  const [rows, width] = [4, 7];
  const each = (x: Float32Array, f: (row: number[], at: number) => number[]): number[] =>
    Array.from({ length: rows }, (_, row) =>
      f(Array.from(x.subarray(row * width, (row + 1) * width)), row),
    ).flat();
  const mean = (list: number[]): number => list.reduce((a, b) => a + b, 0) / list.length;
  const logSoftmax = (row: number[]): number[] => {
    const total = Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0));
    return row.map((value) => value - total);
  };

  it("softmax and logSoftmax", async () => {
    const x = data(rows, width);
    expectClose((await evaluate([x], ops.logSoftmax)).data, each(x.data, logSoftmax));
    expectClose(
      (await evaluate([x], ops.softmax)).data,
      each(x.data, (row) => logSoftmax(row).map(Math.exp)),
    );
  });

  it("rmsNorm and layerNorm", async () => {
    const [x, w, b] = [data(rows, width), data(width), data(width)];
    const scaled = (row: number[], centre: number): number[] => {
      const inverse = 1 / Math.sqrt(mean(row.map((value) => (value - centre) ** 2)) + 1e-3);
      return row.map((value, at) => (value - centre) * inverse * w.data[at]);
    };
    const rms = await evaluate([x, w], (a, weight) => ops.rmsNorm(a, weight, 1e-3));
    expectClose(
      rms.data,
      each(x.data, (row) => scaled(row, 0)),
    );
    const layer = await evaluate([x, w, b], (a, weight, bias) => ops.layerNorm(a, weight, bias, 1e-3));
    const want = each(x.data, (row) => scaled(row, mean(row)).map((value, at) => value + b.data[at]));
    expectClose(layer.data, want);
  });

  it("crossEntropy and klDivergence", async () => {
    const [x, y] = [data(rows, width), data(rows, width)];
    const ids = { shape: [rows], data: Int32Array.of(0, 6, 3, 3) };
    const nll = await evaluate([x, ids], ops.crossEntropy);
    expectClose(
      nll.data,
      each(x.data, (row, at) => [-logSoftmax(row)[ids.data[at]]]),
    );
    const kl = await evaluate([x, y], ops.klDivergence);
    const want = each(x.data, (row, at) => {
      const [p, q] = [logSoftmax(row), logSoftmax(Array.from(y.data.subarray(at * width, (at + 1) * width)))];
      return [p.reduce((sum, logP, i) => sum + Math.exp(logP) * (logP - q[i]), 0)];
    });
    expectClose(kl.data, want);
  });
});

describe(`rope and causal attention (seed ${seed})`, () => {
  it("rope rotates pairs half a head apart by position times frequency", async () => {
    const x = data(6, 8);
    const frequencies = [1, 0.25];
    const got = await evaluate([x], (v) => ops.rope(v, ops.ropeTables(v, frequencies, 3), 2));
    const want = Array.from(x.data, (value, at) => {
      const [position, pair, upper] = [Math.floor(at / 8) % 3, at % 2, Math.floor(at / 2) % 2 === 1];
      const angle = position * frequencies[pair];
      const partner = x.data[upper ? at - 2 : at + 2];
      return value * Math.cos(angle) + (upper ? partner : -partner) * Math.sin(angle);
    });
    expectClose(got.data, want);
  });

  for (const [tokens, heads, kvHeads] of [
    [1, 2, 2],
    [7, 4, 2],
    [33, 3, 1],
    [300, 2, 1],
  ] as const) {
    it(`attention over ${tokens} tokens, ${heads} heads of which ${heads / kvHeads} share keys`, async () => {
      const [batch, headDim, scale] = [2, 6, 0.4];
      const [q, k, v] = [
        data(batch * tokens, heads * headDim),
        data(batch * tokens, kvHeads * headDim),
        data(batch * tokens, kvHeads * headDim),
      ];
      const got = await evaluate([q, k, v], (x, y, z) =>
        ops.causalAttention(x, y, z, {
          batch,
          tokens,
          heads,
          kvHeads,
          headDim,
          scale,
        }),
      );
      const want: number[] = [];
      for (let b = 0; b < batch; b++) {
        for (let t = 0; t < tokens; t++) {
          for (let h = 0; h < heads; h++) {
            const kv = Math.floor(h / (heads / kvHeads));
            const row = (x: Float32Array, token: number, head: number, count: number): Float32Array => {
              const start = ((b * tokens + token) * count + head) * headDim;
              return x.subarray(start, start + headDim);
            };
            const query = row(q.data, t, h, heads);
            const scores = Array.from({ length: t + 1 }, (_, s) =>
              Math.exp(
                scale * row(k.data, s, kv, kvHeads).reduce((sum, value, d) => sum + value * query[d], 0),
              ),
            );
            const total = scores.reduce((x, y) => x + y, 0);
            for (let d = 0; d < headDim; d++) {
              want.push(scores.reduce((sum, p, s) => sum + (p / total) * row(v.data, s, kv, kvHeads)[d], 0));
            }
          }
        }
      }
      expectClose(got.data, want);
    });
  }
});
