/**
 * Error curves and sensitivities of all linears that will be compressed, by short factorisations: a ledger step a
 * linear, as many at a time as there are threads. Memory: one block's weights.
 */
import { LINEAR_ROLES, type LinearRole, throwIfAborted } from "@subbit/core";
import type { LinearMoments, Moments } from "../../calibrate/calibrate.js";
import type { StepKey } from "../../ledger/ledger.js";
import type { AllocationForm } from "../../options.js";
import { asJson, type RunContext } from "../../pipeline/context.js";
import { FactorisePool } from "../../pipeline/factorise-pool.js";
import { readDenseBlock } from "../../student/model-state.js";
import type { ErrorCurve, PlanRow } from "../plan.js";
import { factorisation } from "../plan-model.js";
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
  context: RunContext,
  moments: Moments,
  momentsKey: StepKey,
  asked: readonly AllocationForm[] | undefined,
): Promise<Measurements> {
  const { plan, spec, compile, onProgress, signal } = context;
  const rows = plan.rows.filter((row) => row.kind === "factored");
  const pool = new FactorisePool(compile.threads ?? 1);
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
  context: RunContext,
  pool: FactorisePool,
  { row, forms, moments }: Task,
  momentsKey: StepKey,
  read: () => Promise<Float32Array>,
): Promise<MeasuredLinear> {
  const { plan, recipe, ledger, root, seed } = context;
  const { layer, role } = row.site;
  const tasks = forms.map((form) => ({ form, ranks: measuredRanks(plan, row, form) }));
  const common = {
    iterations: recipe.allocate.iterations,
    seed: seed * 1009 + layer * LINEAR_ROLES.length + LINEAR_ROLES.indexOf(role),
    shrinkage: recipe.factorise.shrinkage,
  };
  const step = {
    name: `curve-${layer}-${role}`,
    version: VERSION,
    params: { layer, role, ...common, tasks: asJson(tasks), how: asJson(factorisation(plan, row)) },
    inputs: [root, momentsKey],
  };
  const { artefact } = await ledger.step(step, async () => {
    const weight = await read();
    const curves = await Promise.all(tasks.map(async ({ form, ranks }) => curveOf(weight, form, ranks)));
    const figures = { sensitivity: sensitivity(weight, moments), curves };
    return { arrays: new Map(), json: asJson(figures) };
  });
  return { name: row.name, ...(artefact.json as unknown as Omit<MeasuredLinear, "name">) };

  async function curveOf(
    weight: Float32Array,
    { shape }: FormChoice,
    ranks: readonly number[],
  ): Promise<ErrorCurve> {
    const { paths, envelope, method, midScale, scaleBits } = shape;
    const form = { ...row, method, paths, envelope, midScale, scaleBits };
    const points = ranks.map(async (rank) => {
      const { weightedRelError } = await pool.run({
        weight,
        rows: row.rows,
        cols: row.cols,
        options: {
          ...factorisation(plan, { ...form, rank }),
          iterations: common.iterations,
          seed: common.seed,
          // Both moments, whatever the recipe factorises with: the curve is of what the loss sees.
          importance: {
            input: moments.inputSquares,
            output: moments.outputGradSquares,
            shrinkage: common.shrinkage,
          },
        },
      });
      return { rank, squaredError: weightedRelError ** 2 };
    });
    return { paths, envelope, points: await Promise.all(points) };
  }
}

async function weightsOf({ model }: RunContext, layer: number): Promise<Record<LinearRole, Float32Array>> {
  const { linears } = await readDenseBlock(model, layer);
  const entries = LINEAR_ROLES.map((role) => {
    const linear = linears[role];
    return [role, linear.kind === "dense" ? linear.weight : new Float32Array(0)] as const;
  });
  return Object.fromEntries(entries) as Record<LinearRole, Float32Array>;
}

/** Reads when first asked, and once: a block whose steps are all in the ledger is not read. */
function onceAsked<T>(read: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= read());
}
