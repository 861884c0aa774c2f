/** Shape arithmetic shared by the ops: sizes, strides, NumPy broadcasting. */
import { SubbitError } from "@subbit/core";

export type Shape = readonly number[];

/** A broken promise of the caller: a bug, not bad input. */
export function graphError(message: string, options?: ErrorOptions): SubbitError {
  return new SubbitError("internal", message, options);
}

/** Number of elements. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

export function showShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((extent, axis) => extent === b[axis]);
}

/** NumPy broadcasting of two shapes; throws `internal` where they do not fit. */
export function broadcastShapes(a: Shape, b: Shape, what: string): number[] {
  const rank = Math.max(a.length, b.length);
  const out: number[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const left = a[axis - rank + a.length] ?? 1;
    const right = b[axis - rank + b.length] ?? 1;
    if (left !== right && left !== 1 && right !== 1) {
      throw graphError(`${what}: shapes ${showShape(a)} and ${showShape(b)} do not broadcast.`);
    }
    out.push(left === 1 ? right : left);
  }
  return out;
}

/** Turns negative axes into positive ones, sorted; throws `internal` when out of range. */
export function normalizeAxes(axes: readonly number[], rank: number, what: string): number[] {
  const positive = axes.map((axis) => (axis < 0 ? axis + rank : axis));
  for (const axis of positive) {
    if (!Number.isInteger(axis) || axis < 0 || axis >= rank) {
      throw graphError(`${what}: axis ${axis} is outside a tensor of rank ${rank}.`);
    }
  }
  return positive.sort((a, b) => a - b);
}
