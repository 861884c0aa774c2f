/** A composition of ops whose gradient is given in closed form instead of being derived op by op. */
import { apply, type Op, type Value } from "../graph/graph.js";

export interface FusedCall {
  readonly grad: Value;
  readonly inputs: readonly Value[];
  readonly output: Value;
  readonly needs: readonly boolean[];
}

interface FusedAttributes {
  readonly name: string;
  readonly vjp: (call: FusedCall) => readonly (Value | undefined)[];
}

const fusedOp: Op<FusedAttributes> = {
  name: "fused",
  infer: (inputs) => {
    const { dtype, shape } = inputs[0];
    return { dtype, shape };
  },
  // The name of the composed result stands for it: ONNX Runtime removes the Identity.
  lower: (emitter, [composed], output) => {
    emitter.node("Identity", [composed], output);
  },
  vjp: ({ grad, inputs, output, attributes, needs }) => [
    undefined,
    ...attributes.vjp({ grad, inputs: inputs.slice(1), output, needs: needs.slice(1) }),
  ],
};

/**
 * `composed`, computed from `inputs` by ordinary ops, with `vjp` as its gradient. `vjp` returns one entry per input;
 * an entry may be left undefined where `needs` says so.
 */
export function fused(
  name: string,
  inputs: readonly Value[],
  composed: Value,
  vjp: (call: FusedCall) => readonly (Value | undefined)[],
): Value {
  return apply(fusedOp, [composed, ...inputs], { name, vjp });
}
