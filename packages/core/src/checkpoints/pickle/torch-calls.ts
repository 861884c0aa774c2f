/**
 * The few things that a pickle of tensors may name, and what they mean here: torch's functions that put a tensor
 * together, its storage classes, and dicts. A pickle that names anything else would run it in Python; here it is refused
 * by that name (CWE-502, deserialisation of untrusted data).
 */
import { inputError } from "../../errors.js";
import { MAX_DIMENSIONS } from "../limits.js";
import {
  describeValue,
  isKind,
  type PickleGlobal,
  type PickleTuple,
  type PickleValue,
  type TorchStorage,
} from "./values.js";

const CALLS: ReadonlySet<string> = new Set([
  "collections.OrderedDict",
  "torch.Size",
  "torch._utils._rebuild_parameter",
  "torch._utils._rebuild_tensor",
  "torch._utils._rebuild_tensor_v2",
]);

/** Storage classes: which elements a storage holds. */
const STORAGE_CLASS = /^torch\.(Float|Half|BFloat16|Char|Byte|Int|Long|Short|Double|Bool)Storage$/;

/** The class or function of that name, if a pickle of tensors has business with it. */
export function resolveGlobal(module: string, name: string, file: string): PickleGlobal {
  const full = `${module}.${name}`;
  if (CALLS.has(full) || STORAGE_CLASS.test(full)) return { kind: "global", name: full };
  throw inputError(
    `${file} asks for ${JSON.stringify(full.slice(0, 100))}, which a file of tensors does not need and which is never run; it is hostile or holds more than weights, save its state dict alone.`,
  );
}

/** The storage that a persistent id names: ("storage", class, key, device, count). */
export function resolveStorage(id: PickleValue | undefined, file: string): TorchStorage {
  const items = isKind(id, "tuple") ? id.items : [];
  const [tag, type, key, , count] = items;
  const valid =
    tag === "storage" &&
    isKind(type, "global") &&
    STORAGE_CLASS.test(type.name) &&
    typeof key === "string" &&
    isCount(count);
  if (!valid) throw inputError(`${file} refers to something that is no storage; it is no file of tensors.`);
  return { kind: "storage", key, type: type.name, count };
}

/** What calling `callable` with `args` stands for. */
export function resolveCall(
  callable: PickleValue | undefined,
  args: PickleValue | undefined,
  file: string,
): PickleValue {
  if (!isKind(callable, "global") || !isKind(args, "tuple")) {
    throw inputError(`${file} calls ${describeValue(callable)}, which is no function; it is damaged.`);
  }
  switch (callable.name) {
    case "collections.OrderedDict":
      if (args.items.length === 0) return { kind: "dict", entries: new Map() };
      break;
    case "torch.Size":
      if (args.items.length === 1 && isKind(args.items[0], "tuple")) return args.items[0];
      break;
    case "torch._utils._rebuild_parameter":
      if (isKind(args.items[0], "tensor")) return args.items[0];
      break;
    case "torch._utils._rebuild_tensor":
    case "torch._utils._rebuild_tensor_v2":
      return rebuildTensor(args, file);
  }
  throw inputError(`${file} calls ${callable.name} with arguments that it does not take; it is damaged.`);
}

/** (storage, offset, size, stride, ...): the rest is for training. */
function rebuildTensor({ items }: PickleTuple, file: string): PickleValue {
  const [storage, offset, size, stride] = items;
  const shape = countsOf(size);
  const strides = countsOf(stride);
  const valid =
    isKind(storage, "storage") && isCount(offset) && shape !== undefined && shape.length === strides?.length;
  if (!valid) throw inputError(`${file} describes a tensor with impossible sizes; it is damaged.`);
  return { kind: "tensor", storage, offset, shape, strides: strides };
}

function countsOf(value: PickleValue | undefined): number[] | undefined {
  if (!isKind(value, "tuple") || value.items.length > MAX_DIMENSIONS) return undefined;
  const counts = value.items.filter(isCount);
  return counts.length === value.items.length ? counts : undefined;
}

function isCount(value: PickleValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
