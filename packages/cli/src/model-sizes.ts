/** What a model costs on disk, in the two figures that stand beside every quality figure. */
import { inspectModel, type Model } from "@subbit/core";

export interface ModelSizes {
  /** Honest bits per linear weight. */
  readonly bpw: number;
  /** Weight files. */
  readonly fileBytes: number;
}

export function sizesOf(model: Model): ModelSizes {
  const { bpw, fileBytes } = inspectModel(model);
  return { bpw, fileBytes };
}
