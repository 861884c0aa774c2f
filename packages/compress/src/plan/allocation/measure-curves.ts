/**
 * Error curves and sensitivities of all linears that will be compressed, by short factorisations: a ledger step a
 * linear, as many at a time as there are threads. Memory: one block's weights.
 */
import { type LinearRole, ofLinears, throwIfAborted } from "@subbit/core";
import type { LinearMoments, Moments } from "../../calibrate/calibrate.js";
import type { StepKey } from "../../ledger/ledger.js";
import type { AllocationForm } from "../../options.js";
import { asJson } from "../../pipeline/context.js";
import { FactorisePool } from "../../pipeline/factorise-pool.js";
import { linearTask } from "../../pipeline/factorise-task.js";
import type { CalibrationContext } from "../../run/open-run.js";
import { readDenseBlock } from "../../student/model-state.js";
import type { ErrorCurve, PlanRow } from "../plan.js";
import type { FormChoice, MeasuredLinear } from "./allocate.js";
import { formsOf, measuredRanks } from "./forms.js";
import { sensitivity } from "./sensitivity.js";

/** Raised when the steps measure something else from the same inputs. */
const VERSION = 1;

export interface Measurements {
  readonly measured: readonly MeasuredLinear[];
  readonly forms: readonly (readonly FormChoice[])[];
}

/** Measures every compressed linear of the context's (uniform) plan, in model order. */
export async function measureCurves(
  context: CalibrationContext,
  moments: Moments,
  momentsKey: StepKey,
  asked: readonly AllocationForm[] | undefined,
): Promise<Measurements> {
  const { plan, spec, compile, onProgress, signal } = context;
  const rows = plan.rows.filter((row) => row.kind === "factored");
  const pool = new FactorisePool(compile.threads ?? 1, signal);
  const measured: MeasuredLinear[] = [];
  let done = 0;
  const report = () => onProgress({ stage: "allocate", done, total: rows.length, unit: "linears" });
  try {
    for (let layer = 0; layer < spec.layers; layer++) {
      throwIfAborted(signal);
      const here = rows.filter((row) => row.site.layer === layer);
      const weights = onceAsked(() => weightsOf(context, layer));
      measured.push(
        ...(await Promise.all(
          here.map(async (row) => {
            const { role } = row.site;
            const forms = formsOf(plan, row, asked);
            const task = { row, forms, moments: moments[layer][role] };
            const one = await measureLinear(
              context,
              pool,
              task,
              momentsKey,
              async () => (await weights())[role],
            );
            done++;
            report();
            return one;
          }),
        )),
      );
    }
  } finally {
    await pool.close();
  }
  return { measured, forms: rows.map((row) => formsOf(plan, row, asked)) };
}

interface Task {
  readonly row: PlanRow;
  readonly forms: readonly FormChoice[];
  readonly moments: LinearMoments;
}

async function measureLinear(
  context: CalibrationContext,
  pool: FactorisePool,
  { row, forms, moments }: Task,
  momentsKey: StepKey,
  read: () => Promise<Float32Array>,
): Promise<MeasuredLinear> {
  const { plan, recipe, ledger, root } = context;
  const { iterations } = recipe.allocate;
  const optionsOf = ({ shape }: FormChoice, rank: number) => ({
    ...linearTask(context, { ...row, ...shape, rank }, moments),
    iterations,
  });
  const tasks = forms.flatMap((form) => measuredRanks(plan, row, form).map((rank) => ({ form, rank })));
  const { layer, role } = row.site;
  const step = {
    name: `curve-${layer}-${role}`,
    version: VERSION,
    params: asJson({
      layer,
      role,
      // The moments are known by the key of their step.
      tasks: tasks.map(({ form, rank }) => ({
        ...optionsOf(form, rank),
        importance: recipe.factorise.shrinkage,
      })),
    }),
    inputs: [root, momentsKey],
  };
  const { artefact } = await ledger.step(step, async () => {
    const weight = await read();
    const points = await Promise.all(
      tasks.map(async ({ form, rank }) => {
        const options = optionsOf(form, rank);
        const { weightedRelError } = await pool.run({
          // A copy: the job's buffer moves to its thread.
          weight: weight.slice(),
          rows: row.rows,
          cols: row.cols,
          // Both moments, whatever the recipe factorises with: the curve is of what the loss sees.
          options: { ...options, importance: { ...options.importance, output: moments.outputGradSquares } },
        });
        return { form, rank, squaredError: weightedRelError ** 2 };
      }),
    );
    const curves = forms.map((form): ErrorCurve => ({
      paths: form.shape.paths,
      envelope: form.shape.envelope,
      points: points
        .filter((point) => point.form === form)
        .map(({ rank, squaredError }) => ({ rank, squaredError })),
    }));
    return { arrays: new Map(), json: asJson({ sensitivity: sensitivity(weight, moments), curves }) };
  });
  return { name: row.name, ...(artefact.json as unknown as Omit<MeasuredLinear, "name">) };
}

async function weightsOf(
  { model }: CalibrationContext,
  layer: number,
): Promise<Readonly<Record<LinearRole, Float32Array>>> {
  const { linears } = await readDenseBlock(model, layer);
  return ofLinears(model.spec, (role) => {
    const linear = linears[role];
    return linear.kind === "dense" ? linear.weight : new Float32Array(0);
  });
}

/** Reads when first asked, and once: a block whose steps are all in the ledger is not read. */
function onceAsked<T>(read: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= read());
}
