/**
 * Calibration in one pass over micro-batches: each goes forward through all blocks of the teacher, keeping the blocks'
 * inputs, and backward from its next-token cross-entropy, giving for every linear the mean square of each input,
 * E[x^2], and of the gradient at each output, E[(dL/dy)^2]. Memory: one block's weights (or all, where they fit) and
 * the block inputs of one micro-batch. Sources: DBF and NanoQuant weigh their factorisations by exactly these moments.
 */
import { type LinearRole, type Model, type ModelSpec, ofLinears, throwIfAborted } from "@subbit/core";
import { BlockPrograms, type CompileOptions, HeadRunner } from "@subbit/engine";
import type { Artefact } from "../ledger/artefact.js";
import { embed, type EndsState, endsFeeds } from "../student/model-state.js";
import { nextTokens } from "../student/perplexity.js";
import type { TeacherBlocks } from "../student/teacher-blocks.js";
import { gatherWindows, type Windows } from "./windows.js";

/** Windows of a micro-batch. */
const BATCH = 4;

/** Moments of one linear. */
export interface LinearMoments {
  /** E[x^2] of each input, [cols] */
  readonly inputSquares: Float32Array;
  /** E[(dL/dy)^2] of each output, [rows]; L is the mean loss of a token, times the number of tokens. */
  readonly outputGradSquares: Float32Array;
}

/** By layer and role. */
export type Moments = readonly Readonly<Record<LinearRole, LinearMoments>>[];

export interface CalibrateOptions extends CompileOptions {
  readonly onWindows?: (done: number) => void;
  readonly signal?: AbortSignal;
}

export async function calibrate(
  model: Model,
  teacher: TeacherBlocks,
  ends: EndsState,
  windows: Windows,
  options: CalibrateOptions = {},
): Promise<Moments> {
  const { onWindows, signal, ...compile } = options;
  const { spec } = model;
  const sums = new MomentSums(spec);
  const programs = new BlockPrograms(spec, compile);
  const head = await HeadRunner.create(spec, { ...compile, mode: "loss", gradients: true });
  try {
    for (let begin = 0; begin < windows.count; begin += BATCH) {
      throwIfAborted(signal);
      const batch = Math.min(BATCH, windows.count - begin);
      const shape = { batch, tokens: windows.seqlen };
      const ids = gatherWindows(
        windows,
        Array.from({ length: batch }, (_, i) => begin + i),
      );
      const inputs = [embed(spec, ends, ids, windows.seqlen)];
      for (let layer = 0; layer < spec.layers; layer++) {
        const forward = await programs.get(teacher.forms, { ...shape, mode: "forward", layer });
        inputs.push((await forward.run({ ...(await teacher.feeds(layer)), hidden: inputs[layer] }))["out"]);
      }
      const tokenWeights = new Float32Array(ids.length).fill(1);
      // The last token of a window has no target in it.
      for (let window = 1; window <= batch; window++) tokenWeights[window * windows.seqlen - 1] = 0;
      const end = await head.run(ids.length, endsFeeds(ends), {
        hidden: inputs.pop()!,
        targets: nextTokens(ids),
        tokenWeights,
      });
      let dOut = end["dHidden"];
      for (let layer = spec.layers - 1; layer >= 0; layer--) {
        const program = await programs.get(teacher.forms, { ...shape, mode: "calibrate", layer });
        const result = await program.run({ ...(await teacher.feeds(layer)), hidden: inputs.pop()!, dOut });
        dOut = result["dHidden"]!;
        sums.add(layer, result);
      }
      onWindows?.(begin + batch);
    }
  } finally {
    await programs.dispose();
    await head.dispose();
  }
  return sums.means(windows.count * windows.seqlen);
}

/** Sums in double precision over micro-batches. */
class MomentSums {
  readonly #sums: Map<string, Float64Array>[];
  readonly #spec: ModelSpec;

  constructor(spec: ModelSpec) {
    this.#spec = spec;
    this.#sums = Array.from({ length: spec.layers }, () => new Map<string, Float64Array>());
  }

  add(layer: number, result: Readonly<Record<string, Float32Array>>): void {
    for (const [name, part] of Object.entries(result)) {
      if (name === "dHidden") continue;
      let sum = this.#sums[layer].get(name);
      if (sum === undefined) {
        sum = new Float64Array(part.length);
        this.#sums[layer].set(name, sum);
      }
      for (let i = 0; i < part.length; i++) sum[i] += part[i];
    }
  }

  means(tokens: number): Moments {
    return this.#sums.map((sums) => {
      const mean = (name: string) => Float32Array.from(sums.get(name)!, (sum) => sum / tokens);
      return ofLinears(this.#spec, (role) => ({
        inputSquares: mean(`inputSquares.${role}`),
        outputGradSquares: mean(`outputGradSquares.${role}`),
      }));
    });
  }
}

const KINDS = ["inputSquares", "outputGradSquares"] as const;

export function momentsToArtefact(moments: Moments): Artefact {
  const arrays = new Map<string, Float32Array>();
  moments.forEach((block, layer) => {
    for (const [role, own] of Object.entries(block)) {
      for (const kind of KINDS) arrays.set(`${layer}.${role}.${kind}`, own[kind]);
    }
  });
  return { arrays, json: { layers: moments.length } };
}

export function momentsFromArtefact(spec: ModelSpec, { arrays }: Artefact): Moments {
  return Array.from({ length: spec.layers }, (_, layer) =>
    ofLinears(spec, (role) => {
      const moment = (kind: (typeof KINDS)[number]) => arrays.get(`${layer}.${role}.${kind}`) as Float32Array;
      return { inputSquares: moment("inputSquares"), outputGradSquares: moment("outputGradSquares") };
    }),
  );
}
