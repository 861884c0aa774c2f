/**
 * Opening a checkpoint in an official layout: seen under the usual names and with the base model's config, it is read
 * like any other.
 */
import { inputError } from "../errors.js";
import type { Checkpoint, TensorInfo } from "../checkpoints/types.js";
import { requireTensor } from "../checkpoints/shapes.js";
import { linearSites, type ModelSpec } from "../model/spec.js";
import type { OfficialLayout, OpenedLayout, StoredLinear } from "./official-layout.js";

/** The checkpoint as the layout's base model would have it: names and config; bytes are read from the original. */
export function baseView(original: Checkpoint, layout: OfficialLayout): Checkpoint {
  const config = layout.baseConfig(original.config);
  if (layout.usualName === undefined) return { ...original, config };
  const tensors = new Map<string, TensorInfo>();
  const originalNames = new Map<string, string>();
  for (const [name, info] of original.tensors) {
    const usual = layout.usualName(name);
    if (tensors.has(usual)) {
      throw inputError(
        `${original.name} holds the tensors ${originalNames.get(usual)} and ${name}, which are the same one under two names; leave one of them.`,
      );
    }
    tensors.set(usual, { ...info, name: usual });
    originalNames.set(usual, name);
  }
  const originalName = (name: string): string => {
    requireTensor(tensors, name, original.name);
    return originalNames.get(name)!;
  };
  return {
    ...original,
    config,
    tensors,
    readRaw: async (name, rows) => original.readRaw(originalName(name), rows),
    readF32: async (name, rows) => original.readF32(originalName(name), rows),
  };
}

/** Finds the packed linears of a checkpoint; throws `input` where one has wrong dtypes or shapes. */
export function openLayout(
  view: Checkpoint,
  original: Checkpoint,
  layout: OfficialLayout,
  spec: ModelSpec,
): OpenedLayout {
  const linears = new Map<string, StoredLinear>();
  for (const site of linearSites(spec)) {
    const name = spec.names.linear(site);
    const stored = layout.linear(view, name, spec.linearShapes[site.role]);
    if (stored !== undefined) linears.set(name, stored);
  }
  return { name: layout.name, linears, dropsBias: layout.dropsBias === true, original };
}
