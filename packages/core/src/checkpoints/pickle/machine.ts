/**
 * An interpreter for the part of pickle (protocols 2 to 5) that files of tensors use. Pickle is a stack machine whose
 * CALL opcodes run whatever the file names; here they only make the values of values.ts, and any opcode beyond the
 * needed ones is refused. One pass, no recursion, one bounded stack: time and memory are linear in the bytes.
 */
import { inputError } from "../../errors.js";
import { MAX_PICKLE_VALUES } from "../limits.js";
import { resolveCall, resolveGlobal, resolveStorage } from "./torch-calls.js";
import { describeValue, isKind, type PickleValue } from "./values.js";

/** Opcodes by their byte. */
const OP = {
  mark: 0x28,
  emptyTuple: 0x29,
  stop: 0x2e,
  binFloat: 0x47,
  binInt: 0x4a,
  binInt1: 0x4b,
  binInt2: 0x4d,
  none: 0x4e,
  binPersId: 0x51,
  reduce: 0x52,
  binString: 0x54,
  shortBinString: 0x55,
  binUnicode: 0x58,
  emptyList: 0x5d,
  append: 0x61,
  build: 0x62,
  global: 0x63,
  appends: 0x65,
  binGet: 0x68,
  longBinGet: 0x6a,
  binPut: 0x71,
  longBinPut: 0x72,
  setItem: 0x73,
  tuple: 0x74,
  setItems: 0x75,
  emptyDict: 0x7d,
  proto: 0x80,
  tuple1: 0x85,
  tuple2: 0x86,
  tuple3: 0x87,
  newTrue: 0x88,
  newFalse: 0x89,
  long1: 0x8a,
  shortBinUnicode: 0x8c,
  binUnicode8: 0x8d,
  stackGlobal: 0x93,
  memoize: 0x94,
  frame: 0x95,
} as const;

/** The last protocol there is. */
const LAST_PROTOCOL = 5;
/** Bytes of a whole number that a double holds with room. */
const MAX_LONG_BYTES = 8;

/**
 * Interprets a pickle that holds tensors. Throws `input` for one that names code, uses opcodes beyond the needed ones, is
 * truncated, or is larger in its demands than its bytes.
 *
 * @param file what messages call it
 */
export function readPickle(bytes: Uint8Array, file: string): PickleValue {
  return new Machine(bytes, file).run();
}

class Machine {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #file: string;
  readonly #stack: PickleValue[] = [];
  /** Heights of the stack at the open marks. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, PickleValue>();
  readonly #text = new TextDecoder("utf-8", { fatal: true });
  #at = 0;

  constructor(bytes: Uint8Array, file: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#file = file;
  }

  run(): PickleValue {
    for (;;) {
      const opcode = this.#u8();
      if (opcode === OP.stop) return this.#pop();
      this.#step(opcode);
      if (this.#stack.length > MAX_PICKLE_VALUES || this.#marks.length > MAX_PICKLE_VALUES) {
        throw this.#refuse(`holds more than ${MAX_PICKLE_VALUES} values at once`);
      }
    }
  }

  #step(opcode: number): void {
    const stack = this.#stack;
    switch (opcode) {
      case OP.proto:
        if (this.#u8() > LAST_PROTOCOL) throw this.#refuse("is of an unknown protocol");
        return;
      case OP.frame:
        this.#take(8);
        return;
      case OP.mark:
        this.#marks.push(stack.length);
        return;
      case OP.none:
        stack.push(null);
        return;
      case OP.newTrue:
      case OP.newFalse:
        stack.push(opcode === OP.newTrue);
        return;
      case OP.binInt:
        stack.push(this.#view.getInt32(this.#take(4), true));
        return;
      case OP.binInt1:
        stack.push(this.#u8());
        return;
      case OP.binInt2:
        stack.push(this.#view.getUint16(this.#take(2), true));
        return;
      case OP.long1:
        stack.push(this.#long(this.#u8()));
        return;
      case OP.binFloat:
        stack.push(this.#view.getFloat64(this.#take(8), false));
        return;
      case OP.shortBinUnicode:
      case OP.shortBinString:
        stack.push(this.#string(this.#u8()));
        return;
      case OP.binUnicode:
      case OP.binString:
        stack.push(this.#string(this.#u32()));
        return;
      case OP.binUnicode8:
        stack.push(this.#string(Number(this.#view.getBigUint64(this.#take(8), true))));
        return;
      default:
        this.#stepOnValues(opcode);
    }
  }

  /** Opcodes that work on what is on the stack already. */
  #stepOnValues(opcode: number): void {
    const stack = this.#stack;
    switch (opcode) {
      case OP.emptyTuple:
        stack.push({ kind: "tuple", items: [] });
        return;
      case OP.emptyList:
        stack.push({ kind: "list", items: [] });
        return;
      case OP.emptyDict:
        stack.push({ kind: "dict", entries: new Map() });
        return;
      case OP.tuple:
        stack.push({ kind: "tuple", items: this.#toMark() });
        return;
      case OP.tuple1:
      case OP.tuple2:
      case OP.tuple3:
        stack.push({ kind: "tuple", items: this.#popMany(opcode - OP.tuple1 + 1) });
        return;
      case OP.append:
        this.#append(this.#popMany(1));
        return;
      case OP.appends:
        this.#append(this.#toMark());
        return;
      case OP.setItem:
        this.#setItems(this.#popMany(2));
        return;
      case OP.setItems:
        this.#setItems(this.#toMark());
        return;
      case OP.binPut:
        this.#remember(this.#u8());
        return;
      case OP.longBinPut:
        this.#remember(this.#u32());
        return;
      case OP.memoize:
        this.#remember(this.#memo.size);
        return;
      case OP.binGet:
        stack.push(this.#recall(this.#u8()));
        return;
      case OP.longBinGet:
        stack.push(this.#recall(this.#u32()));
        return;
      default:
        this.#stepOnNames(opcode);
    }
  }

  /** Opcodes that would run code in Python. */
  #stepOnNames(opcode: number): void {
    const stack = this.#stack;
    switch (opcode) {
      case OP.global: {
        const module = this.#line();
        stack.push(resolveGlobal(module, this.#line(), this.#file));
        return;
      }
      case OP.stackGlobal: {
        const [module, name] = this.#popMany(2);
        if (typeof module !== "string" || typeof name !== "string")
          throw this.#refuse("names a class by something that is no text");
        stack.push(resolveGlobal(module, name, this.#file));
        return;
      }
      case OP.binPersId:
        stack.push(resolveStorage(this.#pop(), this.#file));
        return;
      case OP.reduce: {
        const [callable, args] = this.#popMany(2);
        stack.push(resolveCall(callable, args, this.#file));
        return;
      }
      case OP.build: {
        // The state of a dict is torch's `_metadata` of module versions.
        this.#pop();
        if (!isKind(stack.at(-1), "dict"))
          throw this.#refuse(
            `sets the state of ${describeValue(stack.at(-1))}, which no file of tensors does`,
          );
        return;
      }
      default:
        throw this.#refuse(
          `uses the opcode 0x${opcode.toString(16).padStart(2, "0")} at byte ${this.#at - 1}, which files of tensors do not need`,
        );
    }
  }

  #append(items: readonly PickleValue[]): void {
    const list = this.#stack.at(-1);
    if (!isKind(list, "list")) throw this.#refuse(`appends to ${describeValue(list)}`);
    for (const item of items) list.items.push(item);
  }

  #setItems(pairs: readonly PickleValue[]): void {
    const dict = this.#stack.at(-1);
    if (!isKind(dict, "dict") || pairs.length % 2 !== 0)
      throw this.#refuse(`sets items of ${describeValue(dict)}`);
    for (let i = 0; i < pairs.length; i += 2) {
      const key = pairs[i];
      if (typeof key !== "string") continue;
      if (dict.entries.has(key)) throw this.#refuse(`gives ${JSON.stringify(key.slice(0, 100))} twice`);
      dict.entries.set(key, pairs[i + 1]);
    }
  }

  #remember(index: number): void {
    const value = this.#stack.at(-1);
    if (value === undefined) throw this.#refuse("remembers a value where there is none");
    this.#memo.set(index, value);
    if (this.#memo.size > MAX_PICKLE_VALUES)
      throw this.#refuse(`remembers more than ${MAX_PICKLE_VALUES} values`);
  }

  #recall(index: number): PickleValue {
    const value = this.#memo.get(index);
    if (value === undefined) throw this.#refuse(`recalls the value ${index}, which it never made`);
    return value;
  }

  #toMark(): PickleValue[] {
    const mark = this.#marks.pop();
    if (mark === undefined || mark > this.#stack.length) throw this.#refuse("has no mark where it needs one");
    return this.#stack.splice(mark);
  }

  #popMany(count: number): PickleValue[] {
    // What lies below an open mark belongs to someone else.
    if (this.#stack.length - (this.#marks.at(-1) ?? 0) < count)
      throw this.#refuse("takes more values than it made");
    return this.#stack.splice(this.#stack.length - count);
  }

  #pop(): PickleValue {
    return this.#popMany(1)[0];
  }

  /** Moves past `count` bytes; where they begin. */
  #take(count: number): number {
    const from = this.#at;
    if (!(count <= this.#bytes.length - from))
      throw this.#refuse("ends in the middle; the file is truncated");
    this.#at = from + count;
    return from;
  }

  #u8(): number {
    return this.#bytes[this.#take(1)];
  }

  #u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  /** A little-endian two's complement number of `length` bytes. */
  #long(length: number): number {
    if (length > MAX_LONG_BYTES) throw this.#refuse(`holds a whole number of ${length} bytes`);
    const from = this.#take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[from + i]);
    return Number(BigInt.asIntN(8 * length, value));
  }

  #string(length: number): string {
    const from = this.#take(length);
    try {
      return this.#text.decode(this.#bytes.subarray(from, from + length));
    } catch (cause) {
      throw inputError(`The pickle in ${this.#file} holds text that is not UTF-8; it is damaged.`, { cause });
    }
  }

  /** Text up to the end of the line. */
  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end < 0) throw this.#refuse("ends in the middle; the file is truncated");
    const text = this.#string(end - this.#at);
    this.#at = end + 1;
    return text;
  }

  #refuse(what: string): Error {
    return inputError(`The pickle in ${this.#file} ${what}; it is refused, save its tensors as safetensors.`);
  }
}
