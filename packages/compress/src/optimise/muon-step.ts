/**
 * Muon (Jordan et al., 2024) for sign latents: momentum, nearly orthogonalised, moves a whole [rows, cols] at once. One
 * program of the engine a shape; the twin below does the same with plain loops.
 */
import {
  type CompileOptions,
  Graph,
  multiplySurrogate,
  muonScale,
  nearlyOrthogonal,
  ops,
} from "@subbit/engine";
import { latentGradient, type LatentStepOptions, moveLatents } from "./latent-step.js";
import type { LatentArrays, LatentStepper, StepScalars } from "./latent-stepper.js";
import { ProgramCache } from "./program-cache.js";

/** Muon's usual momentum; the recipes' beta1 is Adam's. */
const MOMENTUM = 0.95;

/** Its moment is the momentum. */
export class MuonSteps implements LatentStepper {
  readonly moments = 1;
  readonly #programs: ProgramCache;
  readonly #options: LatentStepOptions;

  constructor(options: LatentStepOptions, compile: CompileOptions = {}) {
    this.#options = options;
    this.#programs = new ProgramCache(compile);
  }

  async step(
    { latents, signs, moments: [momentum], rows, cols }: LatentArrays,
    gradient: Float32Array,
    { rate, keep, gradientScale }: StepScalars,
  ): Promise<void> {
    const program = await this.#programs.get(`${rows} ${cols}`, () => muonGraph(rows, cols, this.#options));
    await program.run(
      {
        latents,
        momentum,
        gradient,
        rate: Float32Array.of(rate),
        keep: Float32Array.of(keep),
        gradientScale: Float32Array.of(gradientScale),
      },
      { nextLatents: latents, nextMomentum: momentum, signs },
    );
  }

  async dispose(): Promise<void> {
    await this.#programs.dispose();
  }
}

function muonGraph(rows: number, cols: number, options: LatentStepOptions): Graph {
  const graph = new Graph();
  const latents = graph.input("latents", [rows, cols]);
  const momentum = graph.input("momentum", [rows, cols]);
  const rate = graph.input("rate", [1]);
  const through = latentGradient(graph, latents, options);
  const next = ops.add(ops.mul(momentum, MOMENTUM), through);
  graph.output("nextMomentum", next);
  const direction = nearlyOrthogonal(ops.add(through, ops.mul(next, MOMENTUM)));
  moveLatents(graph, latents, ops.mul(direction, ops.mul(rate, muonScale(rows, cols))), options);
  return graph;
}

/**
 * The same step in plain loops. `orthogonal` gives the nearly orthogonal factor of a [rows, cols], which has a twin of its
 * own in the engine.
 */
export function muonStepTwin(
  { latents, signs, moments: [momentum], rows, cols }: LatentArrays,
  gradient: Float32Array,
  { limit = Infinity, collected = false, surrogate }: LatentStepOptions,
  { rate, keep, gradientScale }: StepScalars,
  orthogonal: (x: Float32Array) => Float32Array,
): void {
  const through = collected
    ? gradient.map((g) => g * gradientScale)
    : multiplySurrogate(gradient.slice(), latents, surrogate);
  const direction = through.map((g, i) => {
    momentum[i] = MOMENTUM * momentum[i] + g;
    return g + MOMENTUM * momentum[i];
  });
  const step = rate * muonScale(rows, cols);
  orthogonal(direction).forEach((value, i) => {
    latents[i] = Math.min(limit, Math.max(-limit, keep * latents[i] - step * value));
    signs[i] = latents[i] < 0 ? -1 : 1;
  });
}
