/** What a model costs on disk, in the two figures that stand beside every quality figure. */
import { LINEAR_ROLES, type Model } from "@subbit/core";

export interface ModelSizes {
  /** Honest bits per linear weight. */
  readonly bpw: number;
  /** Weight files. */
  readonly fileBytes: number;
}

export function sizesOf(model: Model): ModelSizes {
  const { spec, checkpoint } = model;
  let weights = 0;
  const prefixes: string[] = [];
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const role of LINEAR_ROLES) {
      weights += spec.linearShapes[role].rows * spec.linearShapes[role].cols;
      prefixes.push(`${spec.names.linear({ layer, role })}.`);
    }
  }
  let bytes = 0;
  for (const info of checkpoint.tensors.values()) {
    if (prefixes.some((prefix) => info.name.startsWith(prefix))) bytes += info.bytes;
  }
  return { bpw: (8 * bytes) / weights, fileBytes: checkpoint.fileBytes };
}
