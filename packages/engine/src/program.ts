/**
 * A compiled graph: an ONNX Runtime session with named feeds and results.
 *
 * Facts that callers rely on: `InferenceSession.run` of onnxruntime-node computes on the calling thread (plus its
 * own intra-op pool), so two programs run side by side only in two worker threads; the same program with the same
 * feeds gives equal bytes on the CPU provider, for any number of runs (a fixed partition of the work by threads).
 */
import { SubbitError } from "@subbit/core";
import * as ort from "onnxruntime-node";
import { lowerGraph, outputName } from "./lowering/model.js";
import { graphError, showShape, sizeOf } from "./graph/shapes.js";
import type { Graph, Value } from "./graph/graph.js";
import { dtypeOf, holds, type HostArray, type ValueType } from "./graph/types.js";

/** Where programs run: ONNX Runtime execution providers. */
export type Device = "cpu" | "cuda" | "webgpu" | "dml" | "coreml";

export interface CompileOptions {
  /** Threads inside one op. @default 1 */
  readonly threads?: number;
  /** @default "cpu" */
  readonly device?: Device;
  /**
   * Whether idle pool threads busy-wait for work: faster for small ops, but steals the core from other work.
   * @default true
   */
  readonly spin?: boolean;
  /**
   * Whether the program keeps the memory of its intermediate values between runs. On the CPU it makes no measurable
   * difference in time, and each program would hold its peak (some 300 MB for a block of SmolLM2-135M).
   * @default false
   */
  readonly arena?: boolean;
  /** Writes ONNX Runtime's chrome trace to files with this prefix. @default no profile */
  readonly profile?: string;
}

export type Feeds = Readonly<Record<string, HostArray>>;
/** Results by output name; f32 outputs only unless the graph says otherwise. */
export type Results = Record<string, Float32Array>;

export interface Program {
  /** The inputs that the outputs depend on. */
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  /**
   * Runs once. Every input must be fed with an array of its dtype and size. Names that the graph declares but its
   * outputs do not depend on may be fed and are ignored; others are an error.
   * `fetches` are arrays to write results into (and to return), which must not overlap feeds; outputs not named there
   * are freshly allocated.
   * Throws `internal` on wrong names, types or sizes, `resources` when memory runs out.
   */
  run(feeds: Feeds, fetches?: Results): Promise<Results>;
  /** Frees the session. */
  dispose(): Promise<void>;
}

const TENSOR_TYPE = {
  f32: "float32",
  i32: "int32",
  i64: "int64",
  bool: "bool",
  u8: "uint8",
  i8: "int8",
} as const;

/**
 * Compiles a graph; its marked outputs, which must be f32, are what `run` returns. Throws `usage` when the device is
 * not to be had.
 */
export async function compile(graph: Graph, options: CompileOptions = {}): Promise<Program> {
  for (const [name, value] of graph.outputs) {
    if (value.dtype !== "f32") throw graphError(`Output ${name} is ${value.dtype}; cast it to f32.`);
  }
  const lowered = lowerGraph(graph);
  const session = await createSession(lowered.bytes, options);
  return new OrtProgram(
    session,
    lowered.inputs,
    lowered.outputs,
    new Set(graph.inputs.keys()),
    options.profile !== undefined,
  );
}

async function createSession(bytes: Uint8Array, options: CompileOptions): Promise<ort.InferenceSession> {
  try {
    return await ort.InferenceSession.create(bytes, sessionOptions(options));
  } catch (cause) {
    const { device = "cpu" } = options;
    const reason = messageOf(cause);
    if (device === "cpu") throw graphError(`ONNX Runtime refused a program: ${reason}`, { cause });
    const message = `The device ${device} was asked for, but it cannot be used here (${reason}); use cpu.`;
    throw new SubbitError("usage", message, { cause });
  }
}

function messageOf(cause: unknown): string {
  return (cause instanceof Error ? cause.message : String(cause)).split("\n")[0].replace(/\.$/, "");
}

/** What ONNX Runtime says when memory runs out. */
const OUT_OF_MEMORY = /bad_alloc|[Ff]ailed to allocate/;

function runError(cause: unknown): SubbitError {
  const reason = messageOf(cause);
  return OUT_OF_MEMORY.test(reason)
    ? new SubbitError(
        "resources",
        `A program ran out of memory (${reason}); use shorter sequences or smaller batches.`,
        { cause },
      )
    : graphError(`A program failed: ${reason}`, { cause });
}

function sessionOptions(options: CompileOptions): ort.InferenceSession.SessionOptions {
  const { threads = 1, device = "cpu", spin = true, arena = false, profile } = options;
  return {
    // Alone: with a second choice, onnxruntime-node would fall back to it with no more than a line on the console.
    executionProviders: [device],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    enableCpuMemArena: arena,
    enableMemPattern: arena,
    logSeverityLevel: 4,
    extra: { session: { intra_op: { allow_spinning: spin ? "1" : "0" } } },
    ...(profile !== undefined && { enableProfiling: true, profileFilePrefix: profile }),
  };
}

class OrtProgram implements Program {
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  readonly #session: ort.InferenceSession;
  readonly #declared: ReadonlySet<string>;
  readonly #profiled: boolean;

  constructor(
    session: ort.InferenceSession,
    inputs: ReadonlyMap<string, Value>,
    outputs: ReadonlyMap<string, Value>,
    declared: ReadonlySet<string>,
    profiled: boolean,
  ) {
    this.#declared = declared;
    this.#session = session;
    this.#profiled = profiled;
    this.inputs = inputs;
    this.outputs = outputs;
  }

  async run(feeds: Feeds, fetches: Results = {}): Promise<Results> {
    const given: Record<string, ort.Tensor> = {};
    for (const name of Object.keys(feeds)) {
      if (!this.#declared.has(name))
        throw graphError(`The program has no input ${name}; it has ${listNames(this.inputs)}.`);
    }
    for (const [name, type] of this.inputs) {
      const data = feeds[name];
      if (!data) throw graphError(`The program's input ${name} ${showShape(type.shape)} was not fed.`);
      given[name] = tensorOver(name, data, type);
    }
    const wanted: Record<string, ort.Tensor | null> = {};
    for (const name of this.outputs.keys()) wanted[outputName(name)] = null;
    for (const [name, data] of Object.entries(fetches)) {
      const type = this.outputs.get(name);
      if (!type) throw graphError(`The program has no output ${name}; it has ${listNames(this.outputs)}.`);
      wanted[outputName(name)] = tensorOver(name, data, type);
    }
    const made = await this.#session.run(given, wanted).catch((cause: unknown) => {
      throw runError(cause);
    });
    const results: Results = {};
    for (const name of this.outputs.keys()) {
      results[name] = fetches[name] ?? (made[outputName(name)].data as Float32Array);
    }
    return results;
  }

  async dispose(): Promise<void> {
    if (this.#profiled) this.#session.endProfiling();
    await this.#session.release();
  }
}

function tensorOver(name: string, data: HostArray, type: ValueType): ort.Tensor {
  if (data.length !== sizeOf(type.shape) || !holds(data, type.dtype)) {
    throw graphError(
      `${name} is ${type.dtype} ${showShape(type.shape)} (${sizeOf(type.shape)} elements), ` +
        `it was given ${data.length} of ${dtypeOf(data)}.`,
    );
  }
  return new ort.Tensor(TENSOR_TYPE[type.dtype], data, [...type.shape]);
}

function listNames(types: ReadonlyMap<string, ValueType>): string {
  return [...types.keys()].join(", ");
}
