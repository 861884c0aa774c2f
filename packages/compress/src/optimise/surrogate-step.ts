/** Gradients of signs turned into those of their latents before the step, where the norm of all is wanted first. */
import { type CompileOptions, Graph, ops, type Surrogate } from "@subbit/engine";
import { ProgramCache } from "./program-cache.js";

export class SurrogateSteps {
  readonly #programs: ProgramCache;
  readonly #surrogate: Surrogate;

  constructor(surrogate: Surrogate, compile: CompileOptions = {}) {
    this.#surrogate = surrogate;
    this.#programs = new ProgramCache(compile);
  }

  /** Multiplies the gradient by the surrogate's slope, in place; the sum of its squares. The twin: `multiplySurrogate`. */
  async through(latents: Float32Array, gradient: Float32Array): Promise<number> {
    const { length } = latents;
    const program = await this.#programs.get(String(length), () => {
      const graph = new Graph();
      const [x, g] = [graph.input("latents", [length]), graph.input("gradient", [length])];
      const made = ops.mul(g, ops.surrogateSlope(x, this.#surrogate));
      graph.output("through", made);
      graph.output("squares", ops.reduceSum(ops.square(made)));
      return graph;
    });
    const { squares } = await program.run({ latents, gradient }, { through: gradient });
    return squares[0];
  }

  async dispose(): Promise<void> {
    await this.#programs.dispose();
  }
}
