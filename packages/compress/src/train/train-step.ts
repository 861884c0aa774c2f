/** The training itself as one ledger step, with snapshots so that a killed run goes on where it was. */
import type { Windows } from "../calibrate/windows.js";
import { distil } from "../distil/distil.js";
import { artefactOf, snapshotOf } from "../distil/snapshot.js";
import type { DistilTask, Evaluation, StepReport } from "../distil/types.js";
import { sha256 } from "../ledger/canonical.js";
import { asJson } from "../pipeline/context.js";
import { bytesOf } from "../pipeline/fingerprint.js";
import type { ModelState } from "../student/model-state.js";
import { statePerplexity } from "../student/perplexity.js";
import { stateToArrays, stateWithArrays } from "../student/state-arrays.js";
import type { TrainContext } from "./context.js";
import type { TrainOptions } from "./options.js";

/** Raised when the step computes something else from the same inputs. */
const VERSION = 1;

export interface TrainSummary {
  readonly losses: readonly number[];
  readonly lossBefore: number;
  readonly lossAfter: number;
  readonly evaluations: readonly Evaluation[];
  readonly keptStep: number;
  /** Of the run that finished. */
  readonly tokensPerSecond: number;
}

export interface TrainedStudent {
  readonly state: ModelState;
  readonly summary: TrainSummary;
}

type Callbacks = Pick<TrainOptions, "onStart" | "onStep" | "onEvaluate">;

/** Trains the context's student in place, or finds it trained. Throws `interrupted`, after a snapshot, when the signal fires. */
export async function trainStep(context: TrainContext, callbacks: Callbacks): Promise<TrainedStudent> {
  const { ledger, recipe, latentStart, steps, seed, root, student, evaluation, evaluateEvery } = context;
  const params = {
    steps,
    seed,
    recipe: asJson(recipe),
    latentStart,
    ...(evaluation && { evaluation: windowsKey(evaluation), evaluateEvery }),
  };
  const spec = { name: "train", version: VERSION, params, inputs: [root] };
  const { artefact } = await ledger.step(spec, async (stepContext) => {
    const saved = await stepContext.restore();
    const from = saved && snapshotOf(saved);
    callbacks.onStart?.({ steps, from: from?.step ?? 0, evaluations: from?.evaluations.length ?? 0 });
    const speed = new Speed(context.tokensPerStep);
    const task: DistilTask = {
      spec: context.spec,
      student,
      teacher: context.teacherEnds,
      teacherBlocks: context.teacher,
      windows: context.windows,
      recipe,
      steps,
      seed,
    };
    const done = await distil(task, {
      ...context.compile,
      snapshotSeconds: context.checkpointSeconds,
      ...(context.signal && { signal: context.signal }),
      ...(from && { from }),
      ...(evaluation && { evaluateEvery, evaluate: evaluator(context, evaluation, callbacks) }),
      onStep: (report) => {
        speed.add(report);
        callbacks.onStep?.(report);
        context.onProgress({
          stage: "train",
          done: report.step,
          total: steps,
          unit: "steps",
          note: `loss ${report.loss.toPrecision(4)}  ${Math.round(speed.recent)} tokens/s`,
        });
      },
      snapshot: (state) => stepContext.snapshot(artefactOf(state)),
    });
    const { losses, lossBefore, lossAfter, evaluations } = done;
    // Without a text to judge by, the divergence of the training windows says whether anything was gained.
    const gained = evaluation !== undefined || lossAfter <= lossBefore;
    const summary: TrainSummary = {
      losses,
      lossBefore,
      lossAfter: gained ? lossAfter : lossBefore,
      evaluations,
      keptStep: gained ? (done.bestStep ?? steps) : 0,
      tokensPerSecond: speed.overall,
    };
    return {
      arrays: gained ? stateToArrays(student) : new Map<string, Float32Array>(),
      json: asJson(summary),
    };
  });
  const summary = artefact.json as unknown as TrainSummary;
  // Nothing was gained: the student as its file has it, since the one in memory was trained.
  const state = artefact.arrays.size === 0 ? await context.freshStudent() : student;
  return {
    state: stateWithArrays(state, artefact.arrays as ReadonlyMap<string, Float32Array>),
    summary,
  };
}

/** Perplexity of a state by the engine; told to the caller, too. */
function evaluator(context: TrainContext, windows: Windows, { onEvaluate }: Callbacks) {
  const { spec, compile, onProgress, signal } = context;
  return async (state: ModelState, step: number): Promise<number> => {
    const options = { ...compile, stage: "evaluate", onProgress, ...(signal && { signal }) };
    const { perplexity } = await statePerplexity(spec, state, windows, options);
    onEvaluate?.({ step, value: perplexity });
    return perplexity;
  };
}

function windowsKey({ ids, seqlen }: Windows): string {
  return sha256(JSON.stringify(seqlen), bytesOf(ids));
}

/** Steps that the shown speed looks back on. */
const RECENT_STEPS = 20;

/** Tokens a second from the seconds of steps. */
class Speed {
  readonly #tokensPerStep: number;
  readonly #recent: number[] = [];
  #seconds = 0;
  #steps = 0;

  constructor(tokensPerStep: number) {
    this.#tokensPerStep = tokensPerStep;
  }

  add({ seconds }: StepReport): void {
    this.#steps++;
    this.#seconds += seconds;
    this.#recent.push(seconds);
    if (this.#recent.length > RECENT_STEPS) this.#recent.shift();
  }

  get recent(): number {
    const seconds = this.#recent.reduce((sum, one) => sum + one, 0);
    return seconds > 0 ? (this.#recent.length * this.#tokensPerStep) / seconds : 0;
  }

  get overall(): number {
    return this.#seconds > 0 ? (this.#steps * this.#tokensPerStep) / this.#seconds : 0;
  }
}
