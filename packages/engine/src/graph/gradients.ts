/** Reverse-mode differentiation: the gradients of a graph are more nodes of the same graph. */
import { graphError } from "./shapes.js";
import { reachable, requireSameShape, type GraphNode, type Value } from "./graph.js";
import { add } from "../ops/elementwise.js";

/** A value to differentiate, with the gradient that arrives at it (a scalar's defaults to 1). */
export interface Seed {
  readonly value: Value;
  /** Same shape as `value`. @default 1 for a scalar */
  readonly grad?: Value;
}

/**
 * Gradients of the seeds (summed) with respect to each of `wrt`, in its order. Only what lies between the two is
 * visited; contributions are added in a fixed order, so the same graph always gives the same program.
 * Throws `internal` when a wanted value does not influence the seeds, or an op on the way has no gradient.
 */
export function gradients(seeds: Value | readonly Seed[], wrt: readonly Value[]): Value[] {
  const list: readonly Seed[] = Array.isArray(seeds)
    ? (seeds as readonly Seed[])
    : [{ value: seeds as Value }];
  const depends = dependentsOf(
    list.map((seed) => seed.value),
    wrt,
  );
  const grads = new Map<Value, Value>();
  const accumulate = (value: Value, grad: Value): void => {
    requireSameShape(value, grad, `Gradient of ${value.node.op}`);
    const known = grads.get(value);
    grads.set(value, known ? add(known, grad) : grad);
  };
  for (const { value, grad } of list) {
    if (!grad && value.shape.length > 0)
      throw graphError("Only a scalar may be differentiated without a seed.");
    accumulate(value, grad ?? value.graph.scalar(1));
  }
  for (const node of reverseOrder(
    list.map((seed) => seed.value),
    depends,
  )) {
    const output = node.outputs[0];
    const grad = grads.get(output);
    if (!grad) continue;
    const needs = node.inputs.map((input) => depends.has(input));
    if (!needs.includes(true)) continue;
    if (!node.vjp) throw graphError(`The op ${node.op} has no gradient.`);
    const parts = node.vjp(grad, needs);
    node.inputs.forEach((input, index) => {
      const part = parts[index];
      if (part && needs[index]) accumulate(input, part);
    });
  }
  return wrt.map((value) => {
    const grad = grads.get(value);
    if (!grad)
      throw graphError(`A value asked for its gradient (${value.node.op}) does not influence the result.`);
    return grad;
  });
}

/** The values under the seeds that depend on any of `wrt`, themselves included. */
function dependentsOf(seeds: readonly Value[], wrt: readonly Value[]): Set<Value> {
  const wanted = new Set(wrt);
  const depends = new Set<Value>();
  const nodes = reachable(seeds).sort((a, b) => order(a) - order(b));
  for (const node of nodes) {
    const fromInputs = node.inputs.some((input) => depends.has(input));
    for (const output of node.outputs) if (fromInputs || wanted.has(output)) depends.add(output);
  }
  return depends;
}

function reverseOrder(seeds: readonly Value[], depends: ReadonlySet<Value>): GraphNode[] {
  return reachable(seeds)
    .filter((node) => node.outputs.some((output) => depends.has(output)))
    .sort((a, b) => order(b) - order(a));
}

function order(node: GraphNode): number {
  return node.outputs[0].id;
}
