/**
 * A chat template is a program from an untrusted file. This interpreter runs it with a budget: every evaluated node,
 * loop pass and character costs, so that a template that loops or doubles its strings ends with an error, not a hang.
 */
import { inputError } from "../errors.js";
import { Environment, Interpreter, type JinjaEnvironment, type JinjaValue } from "./hub-libraries.js";

/** Work units of one rendering: about two seconds. A long conversation in a large template needs about 1 % of it. */
const WORK_BUDGET = 4_000_000;
/** Work units of one pass of a loop, which makes a scope and the `loop` object. */
const PASS_UNITS = 8;
/** Characters a template may build in one string: four times the longest context in use. */
const MAX_TEXT_LENGTH = 16 * 2 ** 20;
/** Elements that `range` may give, as in Jinja's sandbox. */
const MAX_RANGE = 100_000;
/** Characters or list elements that native code scans in one work unit. */
const SCANNED_PER_UNIT = 64;
/** Nodes that hand out a value that exists already; all others make a new one, element by element. */
const LOOKUPS: ReadonlySet<unknown> = new Set(["Identifier", "MemberExpression"]);

/** A template's own `raise_exception`. */
export class TemplateRaised extends Error {}

interface LoopNode {
  readonly type?: string;
  readonly iterable?: LoopNode;
  readonly lhs?: LoopNode;
}

export class BoundedInterpreter extends Interpreter {
  #work = 0;
  /** Nodes whose values loops run over. */
  readonly #iterables = new WeakSet<object>();
  /** Size of a value with everything inside it: values share parts, so a small one can print large. */
  readonly #sizes = new WeakMap<JinjaValue, number>();

  override evaluate(statement: object | undefined, environment: JinjaEnvironment): JinjaValue {
    const node = statement as LoopNode | undefined;
    if (node?.type === "For" && node.iterable !== undefined) {
      this.#iterables.add(
        node.iterable.type === "SelectExpression" ? (node.iterable.lhs ?? node.iterable) : node.iterable,
      );
    }
    const value = super.evaluate(statement, environment);
    this.#charge(1 + this.#cost(node, value));
    return value;
  }

  #charge(units: number): void {
    this.#work += units;
    if (this.#work > WORK_BUDGET)
      throw inputError("The chat template takes too many steps; it may loop without end.");
  }

  /** What making the value, scanning it or looping over it costs. */
  #cost(node: LoopNode | undefined, value: JinjaValue): number {
    if (this.#size(value, 0) > MAX_TEXT_LENGTH)
      throw inputError("The chat template builds a text that is too long.");
    const inner: unknown = value.value;
    const length =
      typeof inner === "string" || Array.isArray(inner)
        ? inner.length
        : inner instanceof Map
          ? inner.size
          : 0;
    if (node !== undefined && this.#iterables.has(node)) return length * PASS_UNITS;
    const copied = typeof inner !== "string" && !LOOKUPS.has(node?.type);
    return copied ? length : Math.ceil(length / SCANNED_PER_UNIT);
  }

  #size(value: JinjaValue, depth: number): number {
    const inner: unknown = value.value;
    if (typeof inner === "string") return inner.length;
    const parts: unknown[] | undefined = Array.isArray(inner)
      ? inner
      : inner instanceof Map
        ? [...(inner as Map<string, JinjaValue>).values()]
        : undefined;
    // A namespace can change and even hold itself; its parts are counted where they are read.
    if (parts === undefined || value.type === "NamespaceValue") return 1;
    if (depth > 200) throw inputError("The chat template nests values too deeply.");
    const known = this.#sizes.get(value);
    if (known !== undefined) return known;
    let size = 2;
    for (const part of parts) size += 2 + this.#size(part as JinjaValue, depth + 1);
    this.#sizes.set(value, size);
    return size;
  }
}

/** The names that templates expect (as transformers defines them), with a bounded `range`. */
export function templateEnvironment(variables: Readonly<Record<string, unknown>>): JinjaEnvironment {
  const environment = new Environment();
  const globals: Record<string, unknown> = {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    range: boundedRange,
    raise_exception: (message: unknown) => {
      throw new TemplateRaised(String(message));
    },
    strftime_now: (format: unknown) => formatDate(new Date(), String(format)),
  };
  for (const [name, value] of Object.entries({ ...globals, ...variables })) environment.set(name, value);
  return environment;
}

function boundedRange(first: unknown, second?: unknown, third?: unknown): number[] {
  const whole = (value: unknown): number => {
    if (typeof value !== "number" || !Number.isSafeInteger(value)) throw new Error("range() needs integers");
    return value;
  };
  const start = second === undefined ? 0 : whole(first);
  const stop = whole(second === undefined ? first : second);
  const step = third === undefined ? 1 : whole(third);
  if (step === 0) throw new Error("range() step must not be zero");
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (length > MAX_RANGE) throw new Error(`range() of ${length} elements is longer than ${MAX_RANGE}`);
  return Array.from({ length }, (_, i) => start + i * step);
}

const MONTHS = "January February March April May June July August September October November December".split(
  " ",
);
const DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");

/** Python's strftime for the directives that templates use, in English whatever the locale. */
function formatDate(date: Date, format: string): string {
  const pad = (value: number): string => String(value).padStart(2, "0");
  const month = MONTHS[date.getMonth()];
  const day = DAYS[date.getDay()];
  const directives: Readonly<Record<string, string>> = {
    Y: String(date.getFullYear()),
    y: pad(date.getFullYear() % 100),
    m: pad(date.getMonth() + 1),
    d: pad(date.getDate()),
    B: month,
    b: month.slice(0, 3),
    A: day,
    a: day.slice(0, 3),
    H: pad(date.getHours()),
    M: pad(date.getMinutes()),
    S: pad(date.getSeconds()),
    "%": "%",
  };
  return format.replace(/%([a-zA-Z%])/g, (found, letter: string) => directives[letter] ?? found);
}
