/** Compiled programs of a factoriser, one of each kind and shape, made when first asked for. */
import type { Program } from "@subbit/engine";
import { type AdmmProgram, type AdmmShape, type AdmmVariant, compileAdmm } from "./admm-program.js";
import { compileDots, compileMiddle, compileProduct, compileResidual, metricPrograms } from "./products.js";

interface Disposable {
  dispose(): Promise<void>;
}

/** Sizes of a plain product [m, k] x [k, n]. */
export interface ProductShape {
  readonly m: number;
  readonly k: number;
  readonly n: number;
  readonly transA?: boolean;
  readonly transB?: boolean;
}

/** What is remembered of the inputs of linears; those of a block are of four kinds. */
const RECALLED = 4;

export class Programs {
  readonly threads: number;
  readonly #recalled = new Map<string, Promise<unknown>>();
  readonly #made = new Map<string, Promise<Disposable>>();

  constructor(threads: number) {
    this.threads = threads;
  }

  admm(shape: AdmmShape, variant: AdmmVariant, careful: boolean): Promise<AdmmProgram> {
    const { middle, projections, ridge, smallestRho, integer = false } = variant;
    return this.once(
      `admm ${middle} ${projections} ${ridge} ${smallestRho} ${integer} ${careful}`,
      shape,
      () => compileAdmm(shape, variant, { threads: this.threads, careful }),
    );
  }

  residual(shape: AdmmShape): Promise<Program> {
    return this.once("residual", shape, () => compileResidual(shape, this.threads));
  }

  dots(shape: AdmmShape): Promise<Program> {
    return this.once("dots", shape, () => compileDots(shape, this.threads));
  }

  middle(shape: AdmmShape): Promise<Program> {
    return this.once("middle", shape, () => compileMiddle(shape, this.threads));
  }

  /** The normal equations of one vector of scales in the metric of a Gram matrix. */
  metric(of: keyof typeof metricPrograms, shape: AdmmShape): Promise<Program> {
    return this.once(`metric ${of}`, shape, () => metricPrograms[of](shape, this.threads));
  }

  /** What `make` gave for the key, while it is among the last few asked for. */
  recall<T>(key: string, make: () => Promise<T>): Promise<T> {
    const known = this.#recalled.get(key);
    // A key says what it stands for, and so its type.
    if (known) return known as Promise<T>;
    if (this.#recalled.size >= RECALLED) {
      this.#recalled.delete(this.#recalled.keys().next().value as string);
    }
    const made = make();
    this.#recalled.set(key, made);
    made.catch(() => this.#recalled.delete(key));
    return made;
  }

  /** left [m, k] right [k, n]. */
  async product(
    left: Float32Array,
    right: Float32Array,
    { m, k, n, ...transposes }: ProductShape,
  ): Promise<Float32Array> {
    const { transA = false, transB = false } = transposes;
    const program = await this.once(`product ${transA} ${transB}`, { rows: m, cols: n, rank: k }, () =>
      compileProduct({ m, k, n }, transposes, this.threads),
    );
    return (await program.run({ left, right })).product;
  }

  /** The program of a kind and shape, compiled by `make` the first time. */
  once<T extends Disposable>(
    kind: string,
    { rows, cols, rank }: AdmmShape,
    make: () => Promise<T>,
  ): Promise<T> {
    const key = `${kind} ${rows} ${cols} ${rank}`;
    const known = this.#made.get(key);
    // A key holds the kind, and a kind always makes the same type.
    if (known) return known as Promise<T>;
    const made = make();
    this.#made.set(key, made);
    // A program that could not be compiled is asked for anew the next time.
    made.catch(() => this.#made.delete(key));
    return made;
  }

  async dispose(): Promise<void> {
    const made = [...this.#made.values()];
    this.#made.clear();
    for (const program of made) await (await program).dispose();
  }
}
