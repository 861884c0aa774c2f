/**
 * Joint iterative quantisation (LittleBit-2, arXiv 2603.00042; ITQ after Gong and Lazebnik, 2011): the rotation R of a
 * factorisation U V^T = (U R)(V R)^T that brings X R, X = [U; V], near to its signs B = sgn(X R). For fixed B the best R is
 * the polar factor of X^T B.
 *
 * The polar factor is found by Newton and Schulz's cubic iteration with the scaling that is optimal for an interval of
 * singular values (Chen and Chow, 2014), all in one program: products only, so that large ranks run at the engine's speed.
 */
import { normalVariates, throwIfAborted } from "@subbit/core";
import { compile, Graph, ops, type Program, type Value } from "@subbit/engine";
import type { AdmmShape } from "./admm-program.js";
import { oneOff } from "./products.js";
import type { PathTask } from "./methods/method.js";

/** Rotations of one run; between runs the caller may stop. */
const CHUNK = 10;
/**
 * Smallest singular value, beside the bound of the largest, that is brought to 1 while rotations only serve to find
 * signs; what lies below is turned less than it could be.
 */
const ROUGH_INTERVAL = 0.02;
/** The same at the end, where R must be a rotation to single precision for U V^T to stay what it is. */
const FINE_INTERVAL = 0.5;
const TOLERANCE = 1e-6;
/** Share of the rotation so far that is mixed into X^T B: keeps directions of no weight at all where they are. */
const INERTIA = 1e-3;

interface Pair {
  /** [rows, rank] */
  readonly left: Float32Array;
  /** [cols, rank] */
  readonly right: Float32Array;
}

/** The rotated pair; its product is that of the given one. */
export async function jointRotation(
  { left, right }: Pair,
  { shape, programs, iterations, seed, path, signal, onIteration }: PathTask,
): Promise<Pair> {
  const turn = await programs.once("itq", shape, () => compileTurn(shape, programs.threads));
  let rotation: Float32Array = randomRotation(shape.rank, seed, path);
  for (let done = 0; done < iterations;) {
    throwIfAborted(signal);
    const trips = Math.min(CHUNK, iterations - done);
    ({ rotation } = await turn.run({ left, right, rotation, trips: BigInt64Array.of(BigInt(trips)) }));
    done += trips;
    onIteration?.(done);
  }
  const finish = await programs.once("itq finish", shape, () => compileFinish(shape, programs.threads));
  const turned = await finish.run({ left, right, rotation });
  return { left: turned.turnedLeft, right: turned.turnedRight };
}

/** A cosine transform between random signs: exactly orthogonal, and it mixes everything with everything. */
function randomRotation(n: number, seed: number, stream: number): Float32Array {
  const signs = normalVariates(2 * n, { seed, stream }).map((value) => (value < 0 ? -1 : 1));
  const rotation = new Float32Array(n * n);
  for (let k = 0; k < n; k++) {
    const size = Math.sqrt((k === 0 ? 1 : 2) / n) * signs[k];
    for (let i = 0; i < n; i++) {
      rotation[k * n + i] = size * Math.cos((Math.PI * (2 * i + 1) * k) / (2 * n)) * signs[n + i];
    }
  }
  return rotation;
}

/** `rotation` [rank, rank] after `trips` turns. */
function compileTurn({ rows, cols, rank }: AdmmShape, threads: number): Promise<Program> {
  const graph = new Graph();
  const left = graph.input("left", [rows, rank]);
  const right = graph.input("right", [cols, rank]);
  const start = graph.input("rotation", [rank, rank]);
  const trips = graph.input("trips", [], "i64");
  const [rotation] = ops.loop({
    trips,
    carried: [start],
    body: (_trip, [current]) => {
      const pull = (x: Value): Value => ops.matmul(x, signs(ops.matmul(x, current)), { transA: true });
      const raw = ops.add(pull(left), pull(right));
      const size = ops.sqrt(ops.mul(ops.reduceSum(ops.square(raw)), INERTIA ** 2 / rank));
      return [polar(ops.add(raw, ops.mul(current, size)), ROUGH_INTERVAL)];
    },
  });
  graph.output("rotation", rotation);
  return compile(graph, oneOff(threads));
}

/** `turnedLeft`, `turnedRight`: the pair times the rotation, made orthogonal to single precision. */
function compileFinish({ rows, cols, rank }: AdmmShape, threads: number): Promise<Program> {
  const graph = new Graph();
  const left = graph.input("left", [rows, rank]);
  const right = graph.input("right", [cols, rank]);
  const rotation = polar(graph.input("rotation", [rank, rank]), FINE_INTERVAL);
  graph.output("turnedLeft", ops.matmul(left, rotation));
  graph.output("turnedRight", ops.matmul(right, rotation));
  return compile(graph, oneOff(threads));
}

function signs(x: Value): Value {
  return ops.sub(1, ops.mul(ops.cast(ops.less(x, 0), "f32"), 2));
}

/**
 * The nearest orthogonal matrix of x [n, n], as far as singular values above `interval` times the bound of the largest go.
 * The bound is the largest row sum of |X^T X|.
 */
function polar(x: Value, interval: number): Value {
  const gramOf = (y: Value): Value => ops.matmul(y, y, { transA: true });
  const first = gramOf(x);
  const bound = ops.reduceMax(ops.reduceSum(ops.abs(first), [1]));
  let y = ops.div(x, ops.sqrt(bound));
  let gram = ops.div(first, bound);
  let low = interval;
  for (;;) {
    // p(y) = s y (3 - s^2 y^2) / 2 maps [low, 1] onto [p(low), 1].
    const scale = Math.sqrt(3 / (1 + low + low * low));
    y = ops.sub(ops.mul(y, 1.5 * scale), ops.mul(ops.matmul(y, gram), 0.5 * scale ** 3));
    low = 0.5 * scale * low * (3 - (scale * low) ** 2);
    if (1 - low < TOLERANCE) return y;
    gram = gramOf(y);
  }
}
