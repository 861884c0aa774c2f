/** Iteration inside a program: an ONNX `Loop` with carried values and a fixed number of trips. */
import { Graph, reachable, type Value } from "../graph/graph.js";
import { graphError, sameShape, showShape } from "../graph/shapes.js";
import { lowerNodes } from "../lowering/model.js";

export interface LoopOptions {
  /** How many times the body runs: a number, or an i64 scalar value that is fed. */
  readonly trips: number | Value;
  /** Values handed from one trip to the next. */
  readonly carried: readonly Value[];
  /**
   * Builds one trip from the trip's number (i64 scalar) and the carried values; returns the next ones, in order and
   * of the same types. It may use any value of the graph around it, and `Graph.root` for constants.
   */
  readonly body: (trip: Value, carried: readonly Value[]) => readonly Value[];
}

/** Runs the body `trips` times; returns the final carried values. Not differentiable. */
export function loop({ trips, carried, body }: LoopOptions): readonly Value[] {
  const first = carried[0];
  if (!first) throw graphError("A loop needs at least one carried value.");
  const { graph } = first;
  const inner = new Graph(graph);
  const trip = inner.input("trip", [], "i64");
  const running = inner.input("running", [], "bool");
  const states = carried.map((value, index) => inner.input(`carried${index}`, value.shape, value.dtype));
  const next = body(trip, states);
  checkTypes(carried, next);
  const nodes = reachable(next);
  const own = nodes.filter((node) => node.outputs[0].graph === inner);
  const captured = new Set(nodes.filter((node) => !own.includes(node)).flatMap((node) => node.outputs));
  const limit = typeof trips === "number" ? graph.root.constant(BigInt64Array.of(BigInt(trips)), []) : trips;
  const start = graph.root.constant(Uint8Array.of(1), []);
  return graph.addNode("loop", [limit, start, ...carried, ...captured], carried, (emitter, outputs) => {
    const nested = emitter.child();
    lowerNodes(nested, own);
    // Body results need names of their own: a body may hand on an input or an outer value untouched.
    const result = (value: Value): string => nested.node("Identity", [nested.name(value)], undefined);
    const goOn = result(running);
    const results = next.map((value) => [result(value), value] as const);
    const bodyInputs = [trip, running, ...states].map((value) => [nested.name(value), value] as const);
    emitter.node(
      "Loop",
      [limit, start, ...carried].map((value) => emitter.name(value)),
      undefined,
      { body: { body: { emitter: nested, inputs: bodyInputs, outputs: [[goOn, running], ...results] } } },
      { outputs: outputs.map((value) => emitter.name(value)) },
    );
  });
}

function checkTypes(carried: readonly Value[], next: readonly Value[]): void {
  if (next.length !== carried.length) {
    throw graphError(`A loop carries ${carried.length} values, its body returned ${next.length}.`);
  }
  carried.forEach((value, index) => {
    const after = next[index];
    if (after.dtype !== value.dtype || !sameShape(after.shape, value.shape)) {
      throw graphError(
        `Carried value ${index} is ${value.dtype} ${showShape(value.shape)}, ` +
          `the body returned ${after.dtype} ${showShape(after.shape)}.`,
      );
    }
  });
}
