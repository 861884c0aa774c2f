/**
 * A graph of tensor operations with shapes known while it is built. Values are immutable; a node is an op applied to
 * values. What an op means (shape rule, ONNX lowering, gradient) stands in one place, its `Op` entry under `ops/`.
 */
import type { Emitter } from "../lowering/emitter.js";
import { graphError, sameShape, showShape, sizeOf, type Shape } from "./shapes.js";
import { dtypeOf, type DType, type HostArray, type ValueType } from "./types.js";

export interface Value extends ValueType {
  /** Position in creation order; a node's inputs always have smaller ids than its outputs. */
  readonly id: number;
  readonly graph: Graph;
  readonly node: GraphNode;
}

export interface GraphNode {
  /** Name of the op, for messages and profiles. */
  readonly op: string;
  /** Everything the node reads (for a loop, also what its body captures). */
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /** Writes the ONNX nodes that compute the outputs. */
  readonly lower: (emitter: Emitter) => void;
  /** Gradients of the inputs (in their order) from the gradient of the only output. */
  readonly vjp?: (grad: Value, needs: readonly boolean[]) => readonly (Value | undefined)[];
}

/** One operation: all there is to know about it. */
export interface Op<A> {
  readonly name: string;
  /** Shape rule: checks the inputs, gives the output's type. */
  readonly infer: (inputs: readonly Value[], attributes: A) => ValueType;
  /** ONNX nodes computing `output` from `inputs` (tensor names). */
  readonly lower: (
    emitter: Emitter,
    inputs: readonly string[],
    output: string,
    attributes: A,
    type: ValueType,
  ) => void;
  /**
   * Vector-Jacobian product: gradient of each input, `undefined` for those without one (or not needed).
   * Absent: the op is not differentiable, and `gradients` throws when a wanted path passes through it.
   */
  readonly vjp?: (call: VjpCall<A>) => readonly (Value | undefined)[];
}

export interface VjpCall<A> {
  readonly grad: Value;
  readonly inputs: readonly Value[];
  readonly output: Value;
  readonly attributes: A;
  /** Which inputs' gradients are wanted. */
  readonly needs: readonly boolean[];
}

export class Graph {
  /** The graph around a loop body; a body may use its values. */
  readonly parent: Graph | undefined;
  readonly nodes: GraphNode[] = [];
  readonly inputs = new Map<string, Value>();
  readonly outputs = new Map<string, Value>();
  readonly constants = new Map<Value, HostArray>();
  readonly #scalars = new Map<string, Value>();
  readonly #counter: { next: number };

  constructor(parent?: Graph) {
    this.parent = parent;
    this.#counter = parent ? parent.#counter : { next: 0 };
  }

  /** The outermost graph. */
  get root(): Graph {
    return this.parent ? this.parent.root : this;
  }

  /** A tensor fed at run time under `name`. */
  input(name: string, shape: Shape, dtype: DType = "f32"): Value {
    if (this.inputs.has(name)) throw graphError(`The graph already has an input named ${name}.`);
    const value = this.addNode("input", [], [{ dtype, shape }], () => undefined)[0];
    this.inputs.set(name, value);
    return value;
  }

  /** A tensor that is part of the graph. Keep it small: weights are feeds. Without a shape the data is a vector. */
  constant(data: HostArray, shape: Shape = [data.length]): Value {
    if (data.length !== sizeOf(shape)) {
      throw graphError(`A constant of shape ${showShape(shape)} got ${data.length} elements.`);
    }
    const value = this.addNode("constant", [], [{ dtype: dtypeOf(data), shape }], () => undefined)[0];
    this.constants.set(value, data);
    return value;
  }

  /** A rank-0 f32 constant; equal numbers share one value. */
  scalar(value: number): Value {
    const key = Object.is(value, -0) ? "-0" : String(value);
    const known = this.#scalars.get(key);
    if (known) return known;
    const made = this.constant(Float32Array.of(value), []);
    this.#scalars.set(key, made);
    return made;
  }

  /** Names a value to be returned by the compiled program. */
  output(name: string, value: Value): void {
    if (this.outputs.has(name)) throw graphError(`The graph already has an output named ${name}.`);
    if (value.graph !== this) throw graphError(`Output ${name} belongs to another graph.`);
    this.outputs.set(name, value);
  }

  /** The low-level way to add a node; ops use `apply`. */
  addNode(
    op: string,
    inputs: readonly Value[],
    types: readonly ValueType[],
    lower: (emitter: Emitter, outputs: readonly Value[]) => void,
    vjp?: (grad: Value, needs: readonly boolean[], output: Value) => readonly (Value | undefined)[],
  ): readonly Value[] {
    const outputs: Value[] = [];
    const node: GraphNode = {
      op,
      inputs,
      outputs,
      lower: (emitter) => lower(emitter, outputs),
      ...(vjp && { vjp: (grad: Value, needs: readonly boolean[]) => vjp(grad, needs, outputs[0]) }),
    };
    for (const { dtype, shape } of types) {
      outputs.push({ id: this.#counter.next++, graph: this, node, dtype, shape: [...shape] });
    }
    this.nodes.push(node);
    return outputs;
  }
}

/** Applies an op; the result lives in the innermost graph of its inputs. */
export function apply<A>(op: Op<A>, inputs: readonly Value[], attributes: A): Value {
  const graph = innermostGraph(inputs);
  const type = op.infer(inputs, attributes);
  const outputs = graph.addNode(
    op.name,
    inputs,
    [type],
    (emitter, made) =>
      op.lower(
        emitter,
        inputs.map((input) => emitter.name(input)),
        emitter.name(made[0]),
        attributes,
        type,
      ),
    op.vjp &&
      ((grad, needs, output) =>
        (op.vjp as NonNullable<Op<A>["vjp"]>)({ grad, inputs, output, attributes, needs })),
  );
  return outputs[0];
}

/** The innermost graph that sees all values. */
export function innermostGraph(values: readonly Value[]): Graph {
  const first = values[0];
  if (!first) throw graphError("An op needs at least one input.");
  let graph = first.graph;
  for (const { graph: other } of values) {
    if (isInside(other, graph)) graph = other;
    else if (!isInside(graph, other)) throw graphError("An op mixes values of two unrelated graphs.");
  }
  return graph;
}

function isInside(graph: Graph, outer: Graph): boolean {
  for (let at: Graph | undefined = graph; at; at = at.parent) if (at === outer) return true;
  return false;
}

/** Throws `internal` unless all values have the dtype. */
export function requireDtype(values: readonly Value[], dtype: DType, what: string): void {
  for (const value of values) {
    if (value.dtype !== dtype) throw graphError(`${what} takes ${dtype} values, it got ${value.dtype}.`);
  }
}

/** Throws `internal` unless both values have the same shape. */
export function requireSameShape(a: Value, b: Value, what: string): void {
  if (!sameShape(a.shape, b.shape)) {
    throw graphError(`${what}: shapes ${showShape(a.shape)} and ${showShape(b.shape)} differ.`);
  }
}

/** Nodes that the values are computed from. */
export function reachable(values: readonly Value[]): GraphNode[] {
  const seen = new Set<GraphNode>();
  const stack = values.map((value) => value.node);
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    for (const input of node.inputs) stack.push(input.node);
  }
  return [...seen];
}
