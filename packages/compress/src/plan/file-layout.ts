import type { ModelSpec, StoredBytes } from "@subbit/core";
import type { EmbedBits, Method } from "../options.js";
import type { PlanRow } from "./plan.js";
export function fileLayout(_spec: ModelSpec, _method: Method, _rows: readonly PlanRow[], _embedBits: EmbedBits): { bytes: StoredBytes; fileBytes: number } {
  throw new Error("x");
}
