/** Option values: text from the command line to checked numbers. A value that does not fit ends with exit code 2. */
import { InvalidArgumentError } from "commander";

/** A finite decimal number; `Number("")`, hexadecimal and blanks are refused. */
function parseNumber(text: string): number {
  if (!/^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(text)) throw new InvalidArgumentError("Give a number.");
  const value = Number(text);
  if (!Number.isFinite(value)) throw new InvalidArgumentError("Give a finite number.");
  return value;
}

export interface Bounds {
  readonly min?: number;
  readonly max?: number;
  /** The bound itself is refused. */
  readonly above?: number;
}

function checkBounds(value: number, { min, max, above }: Bounds): number {
  if (above !== undefined && !(value > above))
    throw new InvalidArgumentError(`Give a number above ${above}.`);
  if (min !== undefined && value < min) throw new InvalidArgumentError(`Give a number of at least ${min}.`);
  if (max !== undefined && value > max) throw new InvalidArgumentError(`Give a number of at most ${max}.`);
  return value;
}

export function number(bounds: Bounds): (text: string) => number {
  return (text) => checkBounds(parseNumber(text), bounds);
}

export function integer(bounds: Bounds): (text: string) => number {
  return (text) => {
    if (!/^[+-]?\d+$/.test(text)) throw new InvalidArgumentError("Give a whole number.");
    const value = Number(text);
    if (!Number.isSafeInteger(value)) throw new InvalidArgumentError("Give a smaller number.");
    return checkBounds(value, bounds);
  };
}

/** `1,2,4`: whole numbers between commas, at least one. */
export function integers(bounds: Bounds): (text: string) => number[] {
  const one = integer(bounds);
  return (text) => text.split(",").map((part) => one(part.trim()));
}

const BYTE_UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 1e3,
  kb: 1e3,
  m: 1e6,
  mb: 1e6,
  g: 1e9,
  gb: 1e9,
  t: 1e12,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

/** `30MB`, `1.5GiB`, `4000000`; decimal units unless there is an i. */
export function byteSize(text: string): number {
  const match = /^(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)$/i.exec(text.trim());
  const unit = match ? BYTE_UNITS[match[2].toLowerCase()] : undefined;
  if (!match || unit === undefined)
    throw new InvalidArgumentError("Give a size such as 30MB, 1.5GiB or 4000000.");
  const bytes = Math.floor(Number(match[1]) * unit);
  if (!Number.isSafeInteger(bytes) || bytes < 1)
    throw new InvalidArgumentError("Give a size of at least one byte.");
  return bytes;
}

/** One of a few numbers. */
export function oneOf<const N extends number>(allowed: readonly N[]): (text: string) => N {
  return (text) => {
    const found = allowed.find((one) => String(one) === text.trim());
    if (found === undefined) throw new InvalidArgumentError(`Give one of ${allowed.join(", ")}.`);
    return found;
  };
}

/** Text as given, but not empty. */
export function nonEmpty(text: string): string {
  if (text === "") throw new InvalidArgumentError("It is empty.");
  return text;
}
