/**
 * A checkpoint whose fused tensors (Phi's qkv_proj: the rows of q, then k, then v) are seen as their parts. Rows lie one
 * after another in a file, so a part is a stretch of the fused tensor's bytes and nothing is copied.
 */
import { inputError } from "../errors.js";
import { resolveRows, rowSpan, rowsOf } from "./shapes.js";
import type { Checkpoint, RowRange, TensorInfo } from "./types.js";

/** A tensor and the names of its parts with their rows, in order. */
export interface RowParts {
  readonly name: string;
  readonly parts: readonly { readonly name: string; readonly rows: number }[];
}

interface Part {
  readonly from: TensorInfo;
  readonly begin: number;
}

/**
 * The checkpoint with the parts in the place of every one of `fused` that it has; itself where it has none. Closing one closes the other.
 * Throws `input` when a tensor has other rows than its parts together.
 */
export function splitRows(checkpoint: Checkpoint, fused: Iterable<RowParts>): Checkpoint {
  const whole = new Map<string, RowParts>();
  for (const each of fused) if (checkpoint.tensors.has(each.name)) whole.set(each.name, each);
  if (whole.size === 0) return checkpoint;
  const tensors = new Map<string, TensorInfo>();
  const parts = new Map<string, Part>();
  for (const [name, info] of checkpoint.tensors) {
    const split = whole.get(name);
    if (split === undefined) {
      tensors.set(name, info);
      continue;
    }
    const due = split.parts.reduce((sum, { rows }) => sum + rows, 0);
    if (rowsOf(info.shape) !== due) {
      throw inputError(
        `Tensor ${name} of ${checkpoint.name} has ${rowsOf(info.shape)} rows, but the config asks for ${split.parts.map(({ rows }) => rows).join(" + ")}.`,
      );
    }
    let begin = 0;
    for (const { name: part, rows } of split.parts) {
      const span = rowSpan(info, { begin, end: begin + rows });
      tensors.set(part, {
        ...info,
        name: part,
        shape: [rows, ...info.shape.slice(1)],
        bytes: span.length,
        offset: info.offset + span.offset,
      });
      parts.set(part, { from: info, begin });
      begin += rows;
    }
  }
  const locate = (name: string, rows: RowRange | undefined): [string, RowRange | undefined] => {
    const part = parts.get(name);
    if (part === undefined) return [name, rows];
    const { begin, end } = resolveRows(tensors.get(name)!, rows);
    return [part.from.name, { begin: part.begin + begin, end: part.begin + end }];
  };
  return {
    ...checkpoint,
    tensors,
    readRaw: async (name, rows) => checkpoint.readRaw(...locate(name, rows)),
    readF32: async (name, rows) => checkpoint.readF32(...locate(name, rows)),
  };
}
