/** A graph as an ONNX model: what its outputs need, in creation order. */
import onnxProto from "onnx-proto";
import { reachable, type Graph, type GraphNode, type Value } from "../graph/graph.js";
import { graphError } from "../graph/shapes.js";
import { Emitter, valueInfo } from "./emitter.js";

const { onnx } = onnxProto;

/** IR version and operator set: reductions with axes as inputs, and understood by every ONNX Runtime since 1.14. */
const IR_VERSION = 8;
const OPSET = 18;

export interface LoweredGraph {
  /** Serialised ModelProto. */
  readonly bytes: Uint8Array;
  /** The inputs that the outputs depend on; the others are not fed. */
  readonly inputs: ReadonlyMap<string, Value>;
  readonly outputs: ReadonlyMap<string, Value>;
}

/** Serialises the part of the graph that its outputs need. */
export function lowerGraph(graph: Graph): LoweredGraph {
  if (graph.outputs.size === 0) throw graphError("A graph without outputs cannot be compiled.");
  const emitter = new Emitter();
  const inputs = new Map<string, Value>();
  const nodes = reachable([...graph.outputs.values()]);
  const used = new Set(nodes.flatMap((node) => node.outputs));
  for (const [name, value] of graph.inputs) {
    emitter.setName(value, name);
    if (used.has(value)) inputs.set(name, value);
  }
  lowerNodes(
    emitter,
    nodes.filter((node) => graphOf(node) === graph),
  );
  for (const [value, data] of graph.constants)
    if (used.has(value)) emitter.constant(value, data, value.shape);
  for (const [name, value] of graph.outputs)
    emitter.node("Identity", [emitter.name(value)], outputName(name));
  const model = onnx.ModelProto.create({
    irVersion: IR_VERSION,
    producerName: "subbit",
    opsetImport: [
      { domain: "", version: OPSET },
      { domain: "com.microsoft", version: 1 },
    ],
    graph: {
      name: "subbit",
      node: emitter.nodes,
      initializer: emitter.initializers,
      input: [...inputs].map(([name, value]) => valueInfo(name, value)),
      output: [...graph.outputs].map(([name, value]) => valueInfo(outputName(name), value)),
    },
  });
  return { bytes: onnx.ModelProto.encode(model).finish(), inputs, outputs: graph.outputs };
}

/** Nodes in creation order, which is a topological order. */
export function lowerNodes(emitter: Emitter, nodes: readonly GraphNode[]): void {
  const sorted = [...nodes].sort((a, b) => a.outputs[0].id - b.outputs[0].id);
  for (const node of sorted) node.lower(emitter);
}

/** Outputs have a namespace of their own, so that an output may be named as an input is. */
export function outputName(name: string): string {
  return `out:${name}`;
}

function graphOf(node: GraphNode): Graph {
  return node.outputs[0].graph;
}
