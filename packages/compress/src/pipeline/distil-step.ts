/** Whole-model distillation as one ledger step, with snapshots so that a killed run goes on where it was. */
import { distil, tokensOfStep } from "../distil/distil.js";
import { artefactOf, snapshotOf } from "../distil/snapshot.js";
import type { DistilTask } from "../distil/types.js";
import type { Artefact } from "../ledger/artefact.js";
import type { StepKey } from "../ledger/ledger.js";
import type { ModelState } from "../student/model-state.js";
import { copyBlock, type BlockState, type NormState } from "../student/state.js";
import { stateToArrays, stateWithArrays } from "../student/state-arrays.js";
import { Activations } from "./activations.js";
import { asJson, type RunContext } from "./context.js";

/** Raised when the step computes something else from the same inputs. */
const VERSION = 2;

export interface DistilSummary {
  /** Mean KL of the sample windows before and after, nats a token. */
  readonly lossBefore: number;
  readonly lossAfter: number;
  readonly tokens: number;
  /** Whether the trained state was better than the start, and so kept. */
  readonly kept: boolean;
}

export interface DistilStep {
  readonly state: ModelState;
  readonly summary: DistilSummary;
}

/** Distils `blocks` (left as they are) at the level of the run. */
export async function distilStep(
  context: RunContext,
  level: "scales" | "full",
  blocks: readonly BlockState[],
  inputs: readonly StepKey[],
  trainTokens: number | undefined,
): Promise<DistilStep> {
  const { recipe, windows, spec, ledger, seed, studentEnds, endsKey, teacherEnds, root } = context;
  const { onProgress, signal } = context;
  const own = recipe[level];
  const stepTokens = tokensOfStep({ recipe: own, windows });
  const tokens = trainTokens ?? own.epochs * windows.count * windows.seqlen;
  const steps = Math.max(1, Math.round(tokens / stepTokens));
  const params = { level, steps, recipe: asJson(own), seed };
  const result = await ledger.step(
    { name: `distil-${level}`, version: VERSION, params, inputs: [root, endsKey, ...inputs] },
    async (stepContext): Promise<Artefact> => {
      const saved = await stepContext.restore();
      const student: ModelState = {
        // Latents that do not train are only read.
        blocks: blocks.map((block) =>
          copyBlock(block, (name) => level === "full" || !name.endsWith("Latents")),
        ),
        ends: {
          ...studentEnds,
          ...(studentEnds.finalNorm && { finalNorm: copyNorm(studentEnds.finalNorm) }),
        },
      };
      // With a hidden-state loss the teacher runs beside the student.
      const teacher = own.loss.hidden > 0 ? undefined : await teacherOutputs(context);
      try {
        const task: DistilTask = {
          spec,
          student,
          teacher: teacherEnds,
          ...(teacher ? { teacherHidden: teacher.store } : { teacherBlocks: context.teacher }),
          windows,
          recipe: own,
          steps,
          seed,
        };
        const done = await distil(task, {
          ...context.compile,
          snapshotSeconds: context.snapshotSeconds,
          ...(signal && { signal }),
          ...(saved && { from: snapshotOf(saved) }),
          onStep: ({ step, logitsLoss }) =>
            onProgress({
              stage: `distil ${level}`,
              done: step,
              total: steps,
              unit: "steps",
              note: `KL ${logitsLoss.toFixed(4)}`,
            }),
          snapshot: (state) => stepContext.snapshot(artefactOf(state)),
        });
        const { lossBefore, lossAfter } = done;
        const kept = lossAfter <= lossBefore;
        const summary = {
          lossBefore,
          lossAfter: kept ? lossAfter : lossBefore,
          tokens: steps * stepTokens,
          kept,
        };
        return { arrays: kept ? stateToArrays(student) : new Map<string, Float32Array>(), json: summary };
      } finally {
        await teacher?.close();
      }
    },
  );
  const summary = result.artefact.json as unknown as DistilSummary;
  const arrays = result.artefact.arrays as ReadonlyMap<string, Float32Array>;
  return { state: stateWithArrays({ blocks, ends: studentEnds }, arrays), summary };
}

/** What leaves the teacher's last block for every window. */
async function teacherOutputs(context: RunContext): Promise<Activations> {
  const { windows, teacher, teacherEnds, spec, onProgress } = context;
  const activations = await Activations.create(context, windows, teacherEnds, "teacher-out");
  for (let layer = 0; layer < spec.layers; layer++) {
    onProgress({ stage: "teacher", done: layer, total: spec.layers, unit: "blocks" });
    await activations.advance(teacher.forms, await teacher.feeds(layer));
  }
  teacher.release();
  return activations;
}

function copyNorm(norm: NormState): NormState {
  return { weight: norm.weight.slice(), ...(norm.bias && { bias: norm.bias.slice() }) };
}
