/**
 * One file as `torch.save` writes it (`.pt`, `.pth`, `.bin`): a zip file with a pickle that names the tensors and an
 * entry for each storage they view. The pickle is interpreted (machine.ts), never run; storages are read by range.
 */
import { inputError, type SubbitError } from "../../errors.js";
import { PLAIN_DTYPE_BYTES, plainToF32, type PlainDtype } from "../dtypes.js";
import { MAX_NAME_BYTES, MAX_PICKLE_BYTES, MAX_TENSORS } from "../limits.js";
import { columnsOf, elementCount, requireTensor, resolveRows, rowSpan } from "../shapes.js";
import { readInto } from "../sources.js";
import type { ByteSource, RowRange, TensorInfo } from "../types.js";
import type { WeightFile } from "../weight-file.js";
import { readPickle } from "./machine.js";
import { describeValue, isKind, type PickleDict, type PickleValue, type TorchTensor } from "./values.js";
import { readZipDirectory, type StoredEntry } from "./zip.js";

const DTYPES: Readonly<Record<string, PlainDtype>> = {
  "torch.FloatStorage": "F32",
  "torch.HalfStorage": "F16",
  "torch.BFloat16Storage": "BF16",
  "torch.CharStorage": "I8",
  "torch.ByteStorage": "U8",
  "torch.IntStorage": "I32",
  "torch.LongStorage": "I64",
};

/** Where training scripts put the weights beside an optimizer's state. */
const WRAPPERS = ["state_dict", "model_state_dict"];

/** Names that mean something to JavaScript objects (CWE-1321, prototype pollution). */
const FORBIDDEN_NAMES: ReadonlySet<string> = new Set(["", "__proto__", "prototype", "constructor"]);

/** A tensor whose elements do not lie one after the other. */
interface Strided {
  readonly strides: readonly number[];
}

/** Opens a torch file: reads its directory and its pickle, no storage. The source is closed when that fails. */
export async function openPickle(source: ByteSource): Promise<WeightFile> {
  try {
    const { entries, root } = await openArchive(source);
    return fileOf(source, entries, stateDict(root, source.name));
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function openArchive(
  source: ByteSource,
): Promise<{ entries: ReadonlyMap<string, StoredEntry>; root: PickleValue }> {
  const directory = await readZipDirectory(source);
  const pickle = directory.find(({ name }) => /^[^/]*\/data\.pkl$/.test(name));
  if (pickle === undefined) {
    throw inputError(
      `${source.name} is a zip file without data.pkl, so torch did not write it; give the file that torch.save wrote.`,
    );
  }
  if (pickle.bytes > MAX_PICKLE_BYTES) {
    throw inputError(
      `The pickle in ${source.name} has ${pickle.bytes} bytes, where at most ${MAX_PICKLE_BYTES} are accepted; it holds more than tensors, save its state dict alone.`,
    );
  }
  const prefix = pickle.name.slice(0, -"data.pkl".length);
  const entries = new Map<string, StoredEntry>();
  for (const entry of directory) {
    if (!entry.name.startsWith(prefix)) continue;
    const name = entry.name.slice(prefix.length);
    if (entries.has(name)) throw inputError(`${source.name} holds two entries ${name}; it is damaged.`);
    entries.set(name, entry);
  }
  const order = entries.get("byteorder");
  if (order !== undefined && order.bytes <= 16) {
    const text = new TextDecoder().decode(await source.read(order.offset, order.bytes));
    if (text !== "little")
      throw inputError(
        `${source.name} has the byte order ${JSON.stringify(text)}; save it on a little-endian machine.`,
      );
  }
  return { entries, root: readPickle(await source.read(pickle.offset, pickle.bytes), source.name) };
}

/** The dict of names and tensors: the pickle itself, or where a training script put it. */
function stateDict(root: PickleValue, file: string): PickleDict {
  const hasTensors = (dict: PickleDict): boolean =>
    [...dict.entries.values()].some((value) => isKind(value, "tensor"));
  if (isKind(root, "dict")) {
    const inner = WRAPPERS.map((name) => root.entries.get(name)).find((value) => isKind(value, "dict"));
    const found = hasTensors(root) ? root : inner;
    if (found !== undefined && hasTensors(found)) return found;
  }
  throw inputError(
    `${file} holds ${describeValue(root)} where names and tensors were expected; save the model's state dict.`,
  );
}

function fileOf(source: ByteSource, entries: ReadonlyMap<string, StoredEntry>, dict: PickleDict): WeightFile {
  if (dict.entries.size > MAX_TENSORS) {
    throw inputError(
      `${source.name} lists ${dict.entries.size} tensors, where at most ${MAX_TENSORS} are accepted.`,
    );
  }
  const found: TensorInfo[] = [];
  const strided = new Map<string, Strided>();
  const unreadable = new Map<string, string>();
  for (const [name, tensor] of dict.entries) {
    // Numbers, settings and the like beside the tensors.
    if (!isKind(tensor, "tensor")) continue;
    const dtype = DTYPES[tensor.storage.type];
    if (dtype === undefined) {
      unreadable.set(name, tensor.storage.type.replace(/^torch\.|Storage$/g, ""));
      continue;
    }
    found.push(tensorInfo(source, entries, name, tensor, dtype));
    if (!isContiguous(tensor)) strided.set(name, { strides: tensor.strides });
  }
  found.sort((a, b) => a.offset - b.offset);
  const tensors = new Map(found.map((info) => [info.name, info]));

  const readRaw = async (name: string, rows?: RowRange): Promise<Uint8Array> => {
    const other = unreadable.get(name);
    if (other !== undefined)
      throw inputError(
        `Tensor ${name} of ${source.name} has dtype ${other}, which is not read; save it as float or integer.`,
      );
    const info = requireTensor(tensors, name, source.name);
    const range = resolveRows(info, rows);
    const view = strided.get(name);
    if (view !== undefined) return gather(source, info, view, range);
    const span = rowSpan(info, range);
    return source.read(info.offset + span.offset, span.length);
  };
  return {
    name: source.name,
    sizeBytes: source.sizeBytes,
    tensors,
    unreadable,
    contiguous: strided.size === 0,
    readRaw,
    readF32: async (name, rows) => {
      const bytes = await readRaw(name, rows);
      return plainToF32(tensors.get(name)!.dtype as PlainDtype, bytes, name);
    },
    readFile: (offset, target) => readInto(source, offset, target),
    close: () => source.close(),
  };
}

/** Checks a tensor against the entry it views. */
function tensorInfo(
  source: ByteSource,
  entries: ReadonlyMap<string, StoredEntry>,
  name: string,
  { storage, offset, shape, strides }: TorchTensor,
  dtype: PlainDtype,
): TensorInfo {
  const shown = JSON.stringify(name.slice(0, 100));
  const damaged = (what: string): SubbitError =>
    inputError(`Tensor ${shown} of ${source.name} ${what}; the file is damaged.`);
  if (FORBIDDEN_NAMES.has(name) || name.length > MAX_NAME_BYTES)
    throw inputError(`${source.name} has a tensor with the name ${shown}, which is not accepted.`);
  const entry = entries.get(`data/${storage.key}`);
  if (entry === undefined) throw damaged(`views the storage ${storage.key.slice(0, 40)}, which is not there`);
  const size = PLAIN_DTYPE_BYTES[dtype];
  if (entry.bytes !== storage.count * size) {
    throw damaged(
      `views a storage of ${storage.count} ${dtype} elements, but ${entry.bytes} bytes are stored`,
    );
  }
  const count = elementCount(shape);
  const last = shape.reduce((sum, length, i) => sum + Math.max(0, length - 1) * strides[i], offset);
  // A broadcast view would claim more elements than there are.
  if (count === undefined || count > storage.count || (count > 0 && !(last < storage.count))) {
    throw damaged(`has the shape [${shape.join(", ")}], which its storage of ${storage.count} does not hold`);
  }
  return {
    name,
    dtype,
    shape,
    bytes: count * size,
    file: source.name,
    offset: entry.offset + offset * size,
  };
}

function isContiguous({ shape, strides }: TorchTensor): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i];
  }
  return true;
}

/** The rows of a tensor with other strides than its shape has, such as a transposed one, row by row. */
async function gather(
  source: ByteSource,
  info: TensorInfo,
  { strides }: Strided,
  { begin, end }: RowRange,
): Promise<Uint8Array> {
  const { shape } = info;
  const size = PLAIN_DTYPE_BYTES[info.dtype as PlainDtype];
  const width = columnsOf(shape);
  const out = new Uint8Array((end - begin) * width * size);
  if (out.length === 0) return out;
  const inner = shape.slice(1).map((length, i) => ({ length, stride: strides[i + 1] }));
  const rowSpanElements = inner.reduce((sum, { length, stride }) => sum + (length - 1) * stride, 1);
  const from = begin * strides[0];
  const until = (end - 1) * strides[0] + rowSpanElements;
  const bytes = await source.read(info.offset + from * size, (until - from) * size);
  const indices = new Array<number>(inner.length).fill(0);
  for (let row = 0, to = 0; row < end - begin; row++) {
    for (let i = 0; i < width; i++, to += size) {
      const at = indices.reduce((sum, index, d) => sum + index * inner[d].stride, row * strides[0]) * size;
      for (let b = 0; b < size; b++) out[to + b] = bytes[at + b];
      for (let d = inner.length - 1; d >= 0 && ++indices[d] === inner[d].length; d--) indices[d] = 0;
    }
  }
  return out;
}
