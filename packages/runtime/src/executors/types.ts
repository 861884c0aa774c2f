/** Something that runs parts of a program in memory. */

export interface Capabilities {
  /** `reference` is the plain TypeScript twin of the kernels. */
  readonly device: "cpu" | "reference";
  readonly threads: number;
  readonly simd: "relaxed" | "baseline" | "none";
  /** In words: why it is not more threads or better SIMD. */
  readonly why: string;
}

export interface Executor {
  /**
   * Runs the instructions in [start, end), byte addresses. Calls do not overlap.
   *
   * @param short known to take some milliseconds at most, so that it need not be handed to another thread @default false
   */
  run(start: number, end: number, short?: boolean): Promise<void>;
  /** Ends its threads; nothing may be run afterwards. */
  dispose(): Promise<void>;
}

/** One whose number of threads may change between two runs. */
export interface Team extends Executor {
  /** Threads there are. */
  readonly size: number;
  /** All of them have started; before that a run makes do with fewer. */
  ready(): Promise<void>;
  /** Uses so many of them from now on. */
  use(threads: number): void;
  /** Ends all threads above so many. */
  trim(threads: number): Promise<void>;
}

/** How fast a model ran with each number of threads, and which one serves it best. */
export interface ThreadChoice {
  readonly threads: number;
  /** By number of threads: milliseconds of the best run. */
  readonly milliseconds: Readonly<Record<string, number>>;
}
