/** The table of kernels: what each reaches, and for the sign kernels the share of the processor's ceiling, all in one run. */
import { KernelBoard, macsOf, signBitsOf, weightBytesOf, type Product } from "./kernel-board.js";
import { VectorBound } from "./vector-bound.js";

export interface KernelFigure {
  readonly median: number;
  readonly best: number;
}

export interface KernelRow {
  readonly name: string;
  readonly threads: number;
  readonly product: Product;
  readonly milliseconds: KernelFigure;
  /** Billions of multiply-accumulates (signs: additions) a second. */
  readonly gmacs: KernelFigure;
  /** Billions of bytes of weights a second. */
  readonly gigabytes: KernelFigure;
  /** Sign kernels: what they reach of each ceiling, median of the rounds. */
  readonly shareOfArithmetic?: number;
  readonly shareOfLoads?: number;
}

export interface KernelReport {
  readonly simd: string;
  /** Billions of sign additions a second at most (vector-bound.ts). */
  readonly bounds: readonly {
    readonly threads: number;
    readonly arithmetic: KernelFigure;
    readonly loads: KernelFigure;
  }[];
  readonly rows: readonly KernelRow[];
}

export interface KernelOptions {
  readonly threads: readonly number[];
  readonly rounds: number;
  /** @default every shape of the table */
  readonly products?: readonly Product[] | undefined;
  /** After each run; may throw to stop. */
  readonly onRun?: (done: number, total: number, name: string) => void;
}

/** The optimising compiler takes over after some calls. */
const WARM_UP_RUNS = 6;

const signs = (
  rows: number,
  rank: number,
  cols: number,
  tokens = 1,
): Extract<Product, { kind: "factored" }> => ({
  kind: "factored",
  rows,
  rank,
  cols,
  tokens,
});
const dense = (
  dtype: "f32" | "f16" | "i8" | "i4" | "i2",
  rows: number,
  cols: number,
  tokens = 1,
): Product => ({
  kind: "dense",
  dtype,
  rows,
  cols,
  tokens,
});

/** Bits are those of the sums of inputs in the tables. Ranks are those of 0.55 bits per weight where the shape is a real linear's. */
export const KERNEL_SHAPES: readonly Product[] = [
  signs(4096, 4096, 4096),
  signs(4096, 1024, 4096),
  { ...signs(4096, 1024, 4096), signBits: 8 },
  { ...signs(4096, 1024, 4096), signBits: 16 },
  signs(576, 144, 576),
  signs(1536, 220, 576),
  signs(8192, 888, 2048),
  signs(11008, 1628, 4096),
  signs(4096, 80, 4096),
  { ...signs(4096, 1024, 4096), envelope: 4 },
  signs(1536, 220, 576, 32),
  signs(8192, 888, 2048, 32),
  dense("i8", 49152, 576),
  dense("i4", 49152, 576),
  dense("i2", 49152, 576),
  dense("f16", 49152, 576),
  dense("i8", 128256, 2048),
  dense("i4", 128256, 2048),
  dense("i2", 128256, 2048),
  dense("f32", 1536, 576),
  dense("f32", 1536, 576, 32),
];

/** Each round runs every kernel once and the bounds around it, so that a share compares neighbours in time. */
export async function benchKernels(options: KernelOptions): Promise<KernelReport> {
  const { threads, rounds, products = KERNEL_SHAPES, onRun } = options;
  const rows: KernelRow[] = [];
  const bounds: KernelReport["bounds"][number][] = [];
  let simd = "";
  const total = threads.length * products.length * (rounds + WARM_UP_RUNS);
  let done = 0;
  for (const count of threads) {
    const board = await KernelBoard.create(count);
    const arithmetic = await VectorBound.create(count, "arithmetic");
    const loads = await VectorBound.create(count, "loads");
    try {
      simd = board.capabilities.simd;
      const places = products.map((product) => board.add(product));
      const samples = products.map((): Sample[] => []);
      for (let round = -WARM_UP_RUNS; round < rounds; round++) {
        for (const place of places) {
          const sample = {
            arithmetic: await arithmetic.run(),
            ms: await board.run(place),
            loads: await loads.run(),
          };
          if (round >= 0) samples[place].push(sample);
          onRun?.(++done, total, nameOf(products[place]));
        }
      }
      const bound = (kind: "arithmetic" | "loads"): KernelFigure => {
        const all = samples.flat().map((sample) => sample[kind]);
        return { median: median(all), best: Math.max(...all) };
      };
      bounds.push({ threads: count, arithmetic: bound("arithmetic"), loads: bound("loads") });
      products.forEach((product, i) => rows.push(rowOf(product, count, samples[i])));
    } finally {
      await arithmetic.dispose();
      await loads.dispose();
      await board.dispose();
    }
  }
  return { simd, bounds, rows };
}

/** One run of a kernel between its neighbours in time. */
interface Sample {
  readonly ms: number;
  readonly arithmetic: number;
  readonly loads: number;
}

function rowOf(product: Product, threads: number, samples: readonly Sample[]): KernelRow {
  const times = samples.map(({ ms }) => ms);
  const rate = (amount: number): KernelFigure => ({
    median: amount / 1e6 / median(times),
    best: amount / 1e6 / Math.min(...times),
  });
  const share = (kind: "arithmetic" | "loads"): number =>
    median(samples.map((sample) => macsOf(product) / 1e6 / sample.ms / sample[kind]));
  return {
    name: nameOf(product),
    threads,
    product,
    milliseconds: { median: median(times), best: Math.min(...times) },
    gmacs: rate(macsOf(product)),
    gigabytes: rate(weightBytesOf(product)),
    ...(product.kind === "factored" && {
      shareOfArithmetic: share("arithmetic"),
      shareOfLoads: share("loads"),
    }),
  };
}

function nameOf(product: Product): string {
  const { rows, cols, tokens } = product;
  const bits = signBitsOf(product);
  const envelope = product.kind === "factored" ? (product.envelope ?? 1) : 1;
  const shape =
    product.kind === "factored"
      ? `${bits === 12 ? "signs" : `signs (${bits} bits)`} ${rows} x ${product.rank} x ${cols}${envelope > 1 ? `, l = ${envelope}` : ""}`
      : `${product.dtype} ${rows} x ${cols}`;
  return tokens === 1 ? shape : `${shape}, ${tokens} tokens`;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
