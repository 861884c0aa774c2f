/** Whole-model distillation as one ledger step, with snapshots so that a killed run goes on where it was. */
import { distil, type DistilSnapshot, type DistilTask } from "../distil/distil.js";
import type { Artefact } from "../ledger/artefact.js";
import type { StepKey } from "../ledger/ledger.js";
import { copyBlock, type BlockState, type NormState, withArrays } from "../student/state.js";
import { blockToArrays } from "../student/artefact.js";
import type { ModelState } from "../student/model-state.js";
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
  const batch = Math.min(own.batch, windows.count);
  const stepTokens = batch * windows.seqlen;
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
      const teacher = await teacherOutputs(context);
      try {
        const task: DistilTask = {
          spec,
          student,
          teacher: teacherEnds,
          teacherHidden: teacher.store,
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
          onStep: (step, loss) =>
            onProgress({
              stage: `distil ${level}`,
              done: step + 1,
              total: steps,
              unit: "steps",
              note: `KL ${loss.toFixed(4)}`,
            }),
          snapshot: ({ arrays, step, losses, lossBefore }) =>
            stepContext.snapshot({ arrays, json: { step, losses, lossBefore } }),
        });
        const { lossBefore, lossAfter } = done;
        const kept = lossAfter <= lossBefore;
        const summary = {
          lossBefore,
          lossAfter: kept ? lossAfter : lossBefore,
          tokens: steps * stepTokens,
          kept,
        };
        return { arrays: kept ? stateArrays(student) : new Map<string, Float32Array>(), json: summary };
      } finally {
        await teacher.close();
      }
    },
  );
  const summary = result.artefact.json as unknown as DistilSummary;
  const arrays = result.artefact.arrays as ReadonlyMap<string, Float32Array>;
  return { state: stateFrom(blocks, studentEnds, arrays), summary };
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

function snapshotOf({ arrays, json }: Artefact): DistilSnapshot {
  const { step, losses, lossBefore } = json as { step: number; losses: number[]; lossBefore: number };
  return { arrays: arrays as ReadonlyMap<string, Float32Array>, step, losses, lossBefore };
}

function copyNorm(norm: NormState): NormState {
  return { weight: norm.weight.slice(), ...(norm.bias && { bias: norm.bias.slice() }) };
}

function stateArrays({ blocks, ends }: ModelState): Map<string, Float32Array> {
  const arrays = new Map<string, Float32Array>();
  if (ends.finalNorm) arrays.set("final-norm.weight", ends.finalNorm.weight);
  for (const [layer, block] of blocks.entries()) {
    for (const [name, array] of blockToArrays(block)) arrays.set(`${layer}.${name}`, array);
  }
  return arrays;
}

/** Arrays that are not there (all of them, when the start was kept) stay as they were. */
function stateFrom(
  blocks: readonly BlockState[],
  ends: ModelState["ends"],
  arrays: ReadonlyMap<string, Float32Array>,
): ModelState {
  const weight = arrays.get("final-norm.weight");
  return {
    blocks: blocks.map((block, layer) => {
      const own = [...arrays].flatMap(([name, array]) =>
        name.startsWith(`${layer}.`) ? [[name.slice(`${layer}.`.length), array] as const] : [],
      );
      return withArrays(block, new Map(own));
    }),
    ends: { ...ends, ...(weight && { finalNorm: { ...ends.finalNorm, weight } }) },
  };
}
