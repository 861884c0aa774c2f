// y = x W for one x, as an ONNX model made byte by byte (onnx.proto), for onnxruntime-node to run.

const FLOAT = 1;
const FLOAT16 = 10;
const FIELDS = {
  model: { irVersion: 1, graph: 7, opsets: 8 },
  opset: { version: 2 },
  graph: { node: 1, name: 2, initializer: 5, input: 11, output: 12 },
  node: { input: 1, output: 2, op: 4 },
  tensor: { dims: 1, dataType: 2, name: 8, rawData: 9 },
};

/** Weights of W are the bytes `raw`, [cols, rows] of `type`; x is [1, cols], y [1, rows], of the same type. */
export function onnxLinear({ rows, cols, type, raw }) {
  const dtype = type === "float16" ? FLOAT16 : FLOAT;
  const { model, opset, graph, node, tensor } = FIELDS;
  const weights = [
    number(tensor.dims, cols),
    number(tensor.dims, rows),
    number(tensor.dataType, dtype),
    text(tensor.name, "w"),
    ...bytes(tensor.rawData, raw),
  ];
  const product = [
    text(node.input, "x"),
    text(node.input, "w"),
    text(node.output, "y"),
    text(node.op, "MatMul"),
  ];
  return Buffer.concat([
    number(model.irVersion, 8),
    ...message(model.graph, [
      ...message(graph.node, product),
      text(graph.name, "linear"),
      ...message(graph.initializer, weights),
      ...message(graph.input, value("x", dtype, [1, cols])),
      ...message(graph.output, value("y", dtype, [1, rows])),
    ]),
    ...message(model.opsets, [number(opset.version, 17)]),
  ]);
}

/** ValueInfoProto: name, type { tensor_type { elem_type, shape { dim { dim_value } } } }. */
function value(name, dtype, shape) {
  const dims = shape.flatMap((size) => message(1, [number(1, size)]));
  return [text(1, name), ...message(2, message(1, [number(1, dtype), ...message(2, dims)]))];
}

function varint(value) {
  const out = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128);
  return Buffer.from([...out, rest]);
}

const tag = (field, wire) => varint(field * 8 + wire);
const number = (field, value) => Buffer.concat([tag(field, 0), varint(value)]);
const bytes = (field, data) => [tag(field, 2), varint(data.length), data];
const text = (field, word) => Buffer.concat(bytes(field, Buffer.from(word)));
/** Parts are joined once, at the end: the weights are large. */
function message(field, parts) {
  return [tag(field, 2), varint(parts.reduce((sum, part) => sum + part.length, 0)), ...parts];
}
