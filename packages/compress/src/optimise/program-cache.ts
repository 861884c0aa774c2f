/** Compiled programs by key, made when first asked for. */
import { compile, type CompileOptions, type Graph, type Program } from "@subbit/engine";

export class ProgramCache {
  readonly #programs = new Map<string, Promise<Program>>();
  readonly #options: CompileOptions;

  constructor(options: CompileOptions) {
    this.#options = options;
  }

  get(key: string, graph: () => Graph): Promise<Program> {
    let program = this.#programs.get(key);
    if (program === undefined) {
      program = compile(graph(), this.#options);
      this.#programs.set(key, program);
    }
    return program;
  }

  async dispose(): Promise<void> {
    const programs = [...this.#programs.values()];
    this.#programs.clear();
    for (const program of programs) await (await program).dispose();
  }
}
