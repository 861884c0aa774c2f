/**
 * The pickle of a state dict as `torch.save` writes it (protocol 2): an OrderedDict of names and tensors, each a view of
 * a storage of its own, which is the entry `data/<index>` of the zip file.
 */
import { SubbitError } from "../../errors.js";
import type { PlainDtype } from "../dtypes.js";
import type { TensorDeclaration } from "../safetensors/encode.js";
import { elementCount } from "../shapes.js";

const STORAGE_CLASSES: Readonly<Record<PlainDtype, string>> = {
  F32: "FloatStorage",
  F16: "HalfStorage",
  BF16: "BFloat16Storage",
  I8: "CharStorage",
  U8: "ByteStorage",
  I32: "IntStorage",
  I64: "LongStorage",
};

const MAX_INT32 = 2 ** 31 - 1;

/** Torch reads this version of its archives since 1.6. */
export const ARCHIVE_VERSION = "3\n";

/** The bytes of `data.pkl` for tensors whose storages are numbered in this order. Throws `usage` for impossible shapes. */
export function encodeStateDict(tensors: readonly TensorDeclaration[]): Uint8Array {
  const out = new PickleWriter();
  out.bytes(0x80, 2); // PROTO 2
  out.emptyDict();
  tensors.forEach(({ name, dtype, shape }, index) => {
    const count = elementCount(shape);
    if (count === undefined)
      throw new SubbitError("usage", `Tensor ${name} cannot be written with shape [${shape.join(", ")}].`);
    out.text(name);
    out.global("torch._utils", "_rebuild_tensor_v2");
    out.tuple(() => {
      out.tuple(() => {
        out.text("storage");
        out.global("torch", STORAGE_CLASSES[dtype]);
        out.text(String(index));
        out.text("cpu");
        out.integer(count);
      });
      out.bytes(0x51); // BINPERSID: the storage
      out.integer(0);
      out.tuple(() => shape.forEach((size) => out.integer(size)));
      out.tuple(() => stridesOf(shape).forEach((stride) => out.integer(stride)));
      out.bytes(0x89); // NEWFALSE: no gradient
      out.emptyDict();
    });
    out.bytes(0x52, 0x73); // REDUCE: the tensor; SETITEM
  });
  out.bytes(0x2e); // STOP
  return out.finish();
}

/** Row-major strides in elements. */
function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1] * Math.max(1, shape[i + 1]);
  return strides;
}

/** Appends opcodes to a growing buffer. */
class PickleWriter {
  readonly #encoder = new TextEncoder();
  #buffer = new Uint8Array(1 << 12);
  #length = 0;

  bytes(...values: number[]): void {
    this.#append(Uint8Array.from(values));
  }

  /** BINUNICODE */
  text(text: string): void {
    const encoded = this.#encoder.encode(text);
    const head = new Uint8Array(5);
    head[0] = 0x58;
    new DataView(head.buffer).setUint32(1, encoded.length, true);
    this.#append(head);
    this.#append(encoded);
  }

  /** GLOBAL */
  global(module: string, name: string): void {
    this.#append(this.#encoder.encode(`c${module}\n${name}\n`));
  }

  /** BININT, or LONG1 of eight bytes above 31 bits. */
  integer(value: number): void {
    const wide = value > MAX_INT32;
    const out = new Uint8Array(wide ? 10 : 5);
    const view = new DataView(out.buffer);
    out[0] = wide ? 0x8a : 0x4a;
    if (wide) {
      out[1] = 8;
      view.setBigInt64(2, BigInt(value), true);
    } else view.setInt32(1, value, true);
    this.#append(out);
  }

  /** MARK ... TUPLE */
  tuple(items: () => void): void {
    this.bytes(0x28);
    items();
    this.bytes(0x74);
  }

  /** OrderedDict() */
  emptyDict(): void {
    this.global("collections", "OrderedDict");
    this.bytes(0x29, 0x52);
  }

  finish(): Uint8Array {
    return this.#buffer.slice(0, this.#length);
  }

  #append(bytes: Uint8Array): void {
    const length = this.#length + bytes.length;
    if (length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.#buffer.length));
      larger.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = larger;
    }
    this.#buffer.set(bytes, this.#length);
    this.#length = length;
  }
}
