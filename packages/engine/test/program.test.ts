/** Programs: what they refuse, results in place, equal bytes, loops. */
import { describe, expect, it } from "vitest";
import { compile, gradients, Graph, ops, type Program } from "../src/index.js";
import { evaluate, expectClose, randomNormal, randomSource } from "./support.js";

async function product(): Promise<Program> {
  const graph = new Graph();
  const a = graph.input("a", [2, 3]);
  const b = graph.input("b", [3, 2]);
  graph.input("unused", [7]);
  graph.output("y", ops.matmul(a, b));
  return compile(graph);
}

const a = Float32Array.of(1, 2, 3, 4, 5, 6);

describe("Program.run", () => {
  it("needs only the inputs that matter, ignores declared others, writes into given arrays", async () => {
    const program = await product();
    expect([...program.inputs.keys()]).toEqual(["a", "b"]);
    const y = new Float32Array(4);
    const results = await program.run({ a, b: a, unused: new Float32Array(7) }, { y });
    expect(results["y"]).toBe(y);
    expect(Array.from(y)).toEqual([22, 28, 49, 64]);
    await program.dispose();
  });

  it("names what is wrong with feeds and fetches", async () => {
    const program = await product();
    await expect(program.run({ a })).rejects.toThrow(/input b \[3, 2\] was not fed/);
    await expect(program.run({ a, b: a, c: a })).rejects.toThrow(/no input c; it has a, b/);
    await expect(program.run({ a, b: a.subarray(1) })).rejects.toThrow(
      /b is f32 \[3, 2\] \(6 elements\), it was given 5/,
    );
    await expect(program.run({ a, b: Int32Array.from(a) })).rejects.toThrow(/given 6 of i32/);
    await expect(program.run({ a, b: a }, { y: new Float32Array(3) })).rejects.toMatchObject({
      code: "internal",
    });
    await expect(program.run({ a, b: a }, { z: a })).rejects.toThrow(/no output z/);
    await program.dispose();
  });

  it("gives equal bytes run after run and from a second session, with one and with two threads", async () => {
    const random = randomSource(2);
    const [rows, inner, cols] = [133, 257, 91];
    const feeds = { a: randomNormal(rows * inner, random), b: randomNormal(inner * cols, random) };
    const build = (threads: number): Promise<Program> => {
      const graph = new Graph();
      const y = ops.matmul(graph.input("a", [rows, inner]), graph.input("b", [inner, cols]));
      graph.output("y", ops.reduceSum(ops.softmax(ops.tanh(y)), [0]));
      return compile(graph, { threads });
    };
    for (const threads of [1, 2]) {
      const [one, two] = [await build(threads), await build(threads)];
      const want = (await one.run(feeds))["y"];
      for (let repeat = 0; repeat < 3; repeat++) {
        expect(await one.run(feeds)).toEqual({ y: want });
        expect(await two.run(feeds)).toEqual({ y: want });
      }
      await one.dispose();
      await two.dispose();
    }
  });

  it("works with reused arrays whose contents change", async () => {
    const program = await product();
    const b = Float32Array.of(1, 0, 0, 1, 0, 0);
    expect(Array.from((await program.run({ a, b }))["y"])).toEqual([1, 2, 4, 5]);
    b.fill(1);
    expect(Array.from((await program.run({ a, b }))["y"])).toEqual([6, 6, 15, 15]);
    await program.dispose();
  });
});

describe("what can go wrong outside", () => {
  it("says when a device cannot be used", async () => {
    const graph = new Graph();
    graph.output("y", ops.exp(graph.input("x", [2])));
    await expect(compile(graph, { device: "coreml" })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(
        /^The device coreml was asked for, but it cannot be used here/,
      ) as string,
    });
  });

  it("says when memory runs out", async () => {
    const graph = new Graph();
    // 2^50 bytes: more than any machine that runs this has.
    const x = ops.expand(graph.input("x", [1, 1]), [2 ** 24, 2 ** 24]);
    graph.output("y", ops.reduceSum(ops.exp(x)));
    const program = await compile(graph);
    await expect(program.run({ x: new Float32Array(1) })).rejects.toMatchObject({ code: "resources" });
    await program.dispose();
  });
});

describe("Graph", () => {
  it("refuses what does not fit, in one sentence", () => {
    const graph = new Graph();
    const x = graph.input("x", [2, 3]);
    expect(() => graph.input("x", [1])).toThrow(/already has an input named x/);
    expect(() => ops.add(x, graph.input("v", [2]))).toThrow(/\[2, 3\] and \[2\] do not broadcast/);
    expect(() => ops.matmul(x, x)).toThrow(/do not fit/);
    expect(() => ops.reshape(x, [4])).toThrow(/as many elements/);
    expect(() => ops.slice(x, 1, 2, 5)).toThrow(/not a range of axis 1/);
    expect(() => ops.concat([x, ops.slice(x, 1, 1)], 0)).toThrow(/differ beside axis 0/);
    expect(() => ops.add(x, new Graph().input("y", [3]))).toThrow(/unrelated graphs/);
    expect(() => gradients(x, [x])).toThrow(/without a seed/);
    expect(() => gradients(ops.reduceSum(x), [graph.input("z", [])])).toThrow(/does not influence/);
    expect(() => gradients(ops.reduceSum(ops.sign(x)), [x])).toThrow(/The op sign has no gradient/);
  });

  it("differentiates several seeds at once, and an output that is also on the way", async () => {
    const graph = new Graph();
    const x = graph.input("x", [3]);
    const y = ops.square(x);
    const z = ops.mul(y, x);
    const [dx, dy] = gradients([{ value: y, grad: y }, { value: ops.reduceSum(z) }], [x, y]);
    graph.output("dx", dx);
    graph.output("dy", dy);
    const program = await compile(graph);
    const results = await program.run({ x: Float32Array.of(1, 2, -3) });
    // d/dx (y y_const + x^3) with y as its own seed: dy = y + x, dx = 2 x dy + y.
    expect(Array.from(results["dy"])).toEqual([2, 6, 6]);
    expect(Array.from(results["dx"])).toEqual([5, 28, -27]);
    await program.dispose();
  });
});

describe("loop", () => {
  it("iterates carried values, captures outer ones and counts its trips", async () => {
    const random = randomSource(6);
    const x0 = randomNormal(6, random);
    const w = randomNormal(9, random).map((value) => value * 0.5);
    const { data } = await evaluate(
      [
        { shape: [2, 3], data: x0 },
        { shape: [3, 3], data: w },
      ],
      (start, weight) => {
        const scaled = ops.mul(weight, 0.9);
        const count = start.graph.constant(new Float32Array(1), []);
        const [x, trips] = ops.loop({
          trips: 5,
          carried: [start, count],
          body: (trip, [state, sum]) => [
            ops.tanh(ops.add(ops.matmul(state, scaled), 0.1)),
            ops.add(sum, ops.cast(trip, "f32")),
          ],
        });
        return ops.add(x, trips);
      },
    );
    let state = Array.from(x0);
    for (let trip = 0; trip < 5; trip++) {
      state = state.map((_, at) => {
        const row = Math.floor(at / 3) * 3;
        let sum = 0.1;
        for (let k = 0; k < 3; k++) sum += state[row + k] * w[k * 3 + (at % 3)] * 0.9;
        return Math.tanh(sum);
      });
    }
    expectClose(
      data,
      state.map((value) => value + 10),
    );
  });

  it("takes its number of trips as a feed, hands values on untouched, and refuses a changed shape", async () => {
    const graph = new Graph();
    const x = graph.input("x", [2]);
    const trips = graph.input("trips", [], "i64");
    const [sum, same] = ops.loop({
      trips,
      carried: [x, x],
      body: (_trip, [total, held]) => [ops.add(total, x), held],
    });
    graph.output("sum", sum);
    graph.output("same", same);
    const program = await compile(graph);
    for (const count of [0, 3]) {
      const results = await program.run({ x: Float32Array.of(1, 2), trips: BigInt64Array.of(BigInt(count)) });
      expect(Array.from(results["sum"])).toEqual([1 + count, 2 + 2 * count]);
      expect(Array.from(results["same"])).toEqual([1, 2]);
    }
    await program.dispose();
    expect(() => ops.loop({ trips: 1, carried: [x], body: () => [ops.reduceSum(x)] })).toThrow(
      /the body returned f32 \[\]/,
    );
  });
});

describe("matmulInteger", () => {
  it.each([
    [3, 5, 4],
    [17, 130, 33],
    [1, 64, 9],
  ])(
    "multiplies %i x %i codes with %i columns exactly, whatever the zero point",
    async (rows, inner, cols) => {
      const random = randomSource(inner);
      const a = Uint8Array.from({ length: rows * inner }, () => Math.floor(256 * random()));
      const b = Int8Array.from({ length: inner * cols }, () => Math.floor(127 * random()) - 63);
      const zeroPoint = 128;
      const graph = new Graph();
      const product = ops.matmulInteger(
        graph.input("a", [rows, inner], "u8"),
        graph.input("b", [inner, cols], "i8"),
        zeroPoint,
      );
      graph.output("y", ops.cast(product, "f32"));
      const program = await compile(graph);
      const { y } = await program.run({ a, b });
      await program.dispose();
      for (let row = 0; row < rows; row++) {
        for (let col = 0; col < cols; col++) {
          let sum = 0;
          for (let k = 0; k < inner; k++) sum += (a[row * inner + k] - zeroPoint) * b[k * cols + col];
          expect(y[row * cols + col]).toBe(sum);
        }
      }
    },
  );
});
