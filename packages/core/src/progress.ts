/** Progress as data: libraries emit these, the command line and the page draw them. */
export interface ProgressEvent {
  /** Name of the running stage, a short noun phrase such as "calibrate" or "block 3/6". */
  stage: string;
  /** Work done so far, in `unit`s; never decreases within a stage. */
  done: number;
  /** Work of the whole stage, in `unit`s; constant within a stage. */
  total: number;
  unit: "bytes" | "tokens" | "steps" | "windows" | "rows" | "documents" | "linears" | "blocks";
  /** A figure worth showing beside the bar, such as `loss 0.0123`. */
  note?: string;
}

export type OnProgress = (event: ProgressEvent) => void;
