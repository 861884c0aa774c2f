/** Collects the ONNX nodes and initialisers of a graph while its ops lower themselves. */
import onnxProto from "onnx-proto";
import type { Shape } from "../graph/shapes.js";
import { dtypeOf, type DType, type HostArray, type ValueType } from "../graph/types.js";

const { onnx } = onnxProto;

/** ONNX element types. */
export const ELEMENT_TYPE = { f32: 1, u8: 2, i8: 3, i32: 6, i64: 7, bool: 9 } as const satisfies Record<
  DType,
  number
>;

/** A value as the emitter knows it: its identity within a graph and its loop bodies. */
export interface Identified {
  readonly id: number;
}

/** A subgraph, such as a loop body. */
export interface Body {
  readonly emitter: Emitter;
  readonly inputs: readonly (readonly [name: string, type: ValueType])[];
  readonly outputs: readonly (readonly [name: string, type: ValueType])[];
}

/** An ONNX attribute by kind, since JavaScript numbers do not tell ints from floats. */
export type Attribute =
  | { readonly int: number }
  | { readonly float: number }
  | { readonly ints: readonly number[] }
  | { readonly text: string }
  | { readonly body: Body };

export interface NodeOptions {
  /** Operator domain; ONNX Runtime's own operators live in `com.microsoft`. @default "" */
  readonly domain?: string;
  /** Further output names, for operators with several. */
  readonly outputs?: readonly string[];
}

export class Emitter {
  readonly nodes: onnxProto.onnx.INodeProto[] = [];
  readonly initializers: onnxProto.onnx.ITensorProto[];
  readonly #names: Map<number, string>;
  readonly #shared: { next: number; readonly constants: Map<string, string> };

  constructor(parent?: Emitter) {
    this.initializers = parent ? parent.initializers : [];
    this.#names = parent ? parent.#names : new Map<number, string>();
    this.#shared = parent ? parent.#shared : { next: 0, constants: new Map<string, string>() };
  }

  /** An emitter for a loop body: own nodes, shared names and initialisers. */
  child(): Emitter {
    return new Emitter(this);
  }

  setName(value: Identified, name: string): void {
    this.#names.set(value.id, name);
  }

  /** The tensor name of a value. */
  name(value: Identified): string {
    return this.#names.get(value.id) ?? `v${value.id}`;
  }

  /** A fresh name for an intermediate tensor. */
  fresh(): string {
    return `t${this.#shared.next++}`;
  }

  /** Adds a node; without an output name, one is made. Returns the first output's name. */
  node(
    opType: string,
    inputs: readonly string[],
    output: string | undefined,
    attributes: Readonly<Record<string, Attribute>> = {},
    options: NodeOptions = {},
  ): string {
    const first = output ?? this.fresh();
    this.nodes.push({
      opType,
      domain: options.domain ?? "",
      input: [...inputs],
      output: options.outputs ? [...options.outputs] : [first],
      attribute: Object.entries(attributes).map(([name, value]) => attributeProto(name, value)),
    });
    return first;
  }

  /** An int64 initialiser (axes, shapes, pads); equal contents are shared. */
  ints(values: readonly number[], shape: Shape = [values.length]): string {
    return this.#literal(
      BigInt64Array.from(values, (value) => BigInt(value)),
      shape,
    );
  }

  /** A rank-0 f32 initialiser. */
  float(value: number): string {
    return this.#literal(Float32Array.of(value), []);
  }

  /** A rank-0 u8 initialiser. */
  byte(value: number): string {
    const key = `u8|${value}`;
    const known = this.#shared.constants.get(key);
    if (known !== undefined) return known;
    const name = `c${this.#shared.constants.size}`;
    this.#shared.constants.set(key, name);
    this.initializers.push({ name, dims: [], dataType: ELEMENT_TYPE.u8, rawData: Uint8Array.of(value) });
    return name;
  }

  /** A constant of the graph. */
  constant(value: Identified, data: HostArray, shape: Shape): void {
    this.initializers.push(tensorProto(this.name(value), data, shape));
  }

  #literal(data: HostArray, shape: Shape): string {
    const key = `${dtypeOf(data)}|${shape.join(",")}|${data.join(",")}`;
    const known = this.#shared.constants.get(key);
    if (known !== undefined) return known;
    const name = `c${this.#shared.constants.size}`;
    this.#shared.constants.set(key, name);
    this.initializers.push(tensorProto(name, data, shape));
    return name;
  }
}

function tensorProto(name: string, data: HostArray, shape: Shape): onnxProto.onnx.ITensorProto {
  return {
    name,
    dims: [...shape],
    dataType: ELEMENT_TYPE[dtypeOf(data)],
    rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  };
}

function attributeProto(name: string, value: Attribute): onnxProto.onnx.IAttributeProto {
  const types = onnx.AttributeProto.AttributeType;
  if ("int" in value) return { name, type: types.INT, i: value.int };
  if ("float" in value) return { name, type: types.FLOAT, f: value.float };
  if ("ints" in value) return { name, type: types.INTS, ints: [...value.ints] };
  if ("text" in value) return { name, type: types.STRING, s: new TextEncoder().encode(value.text) };
  const { emitter, inputs, outputs } = value.body;
  return {
    name,
    type: types.GRAPH,
    g: {
      name: "body",
      node: emitter.nodes,
      input: inputs.map(([input, type]) => valueInfo(input, type)),
      output: outputs.map(([output, type]) => valueInfo(output, type)),
    },
  };
}

export function valueInfo(name: string, type: ValueType): onnxProto.onnx.IValueInfoProto {
  return {
    name,
    type: {
      tensorType: {
        elemType: ELEMENT_TYPE[type.dtype],
        shape: { dim: type.shape.map((extent) => ({ dimValue: extent })) },
      },
    },
  };
}
