/** What a pickle of tensors may hold, as data. Nothing in it is ever called. */

export interface PickleTuple {
  readonly kind: "tuple";
  readonly items: readonly PickleValue[];
}

export interface PickleList {
  readonly kind: "list";
  readonly items: PickleValue[];
}

/** A dict or an OrderedDict, by its text keys; entries with other keys are dropped. */
export interface PickleDict {
  readonly kind: "dict";
  readonly entries: Map<string, PickleValue>;
}

/** A class or function by its qualified name, such as `torch._utils._rebuild_tensor_v2`. */
export interface PickleGlobal {
  readonly kind: "global";
  readonly name: string;
}

/** Elements of one dtype in an entry of the zip file. */
export interface TorchStorage {
  readonly kind: "storage";
  /** Name of the entry below `data/`. */
  readonly key: string;
  /** Dtype by torch's class, such as `torch.HalfStorage`. */
  readonly type: string;
  readonly count: number;
}

/** A view of a storage. */
export interface TorchTensor {
  readonly kind: "tensor";
  readonly storage: TorchStorage;
  /** First element, counted in elements. */
  readonly offset: number;
  readonly shape: readonly number[];
  /** Elements from one index of a dimension to the next. */
  readonly strides: readonly number[];
}

export type PickleValue =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | PickleTuple
  | PickleList
  | PickleDict
  | PickleGlobal
  | TorchStorage
  | TorchTensor;

export function isKind<
  Kind extends Exclude<PickleValue, null | boolean | number | string | Uint8Array>["kind"],
>(value: PickleValue | undefined, kind: Kind): value is Extract<PickleValue, { kind: Kind }> {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === kind;
}

/** A value in a few words, for messages. */
export function describeValue(value: PickleValue | undefined): string {
  if (value === undefined) return "nothing";
  if (value === null) return "None";
  if (typeof value === "object") return "kind" in value ? `a ${value.kind}` : "bytes";
  return `the ${typeof value} ${JSON.stringify(value).slice(0, 40)}`;
}
