/**
 * Block after block: (a) the linears that are still dense learn to absorb the errors made so far, (b) a group of them
 * is factorised, and so on through the block; then (c) all signs, scales and norms of the block are tuned together.
 * Every piece is a ledger step of its own; when a block is done its pieces are dropped for the block's one artefact.
 */
import { type LinearRole, throwIfAborted } from "@subbit/core";
import type { Moments } from "../calibrate/calibrate.js";
import { type Artefact, floats } from "../ledger/artefact.js";
import type { Json } from "../ledger/canonical.js";
import type { StepKey, StepResult, StepSpec } from "../ledger/ledger.js";
import { LatentSteps } from "../optimise/latent-step.js";
import { LATENT_LIMIT } from "../optimise/latent-stepper.js";
import { blockFromArtefact, blockToArtefact } from "../student/artefact.js";
import { blockForms, stateFeeds } from "../student/feeds.js";
import { stateOfFactorised } from "../student/from-factorised.js";
import { emptyState } from "../student/from-plan.js";
import { linearArrays, type LinearState, withLinearArrays } from "../student/linear-state.js";
import { readDenseBlock } from "../student/model-state.js";
import { type BlockState, blockArrays, copyBlock, withArrays } from "../student/state.js";
import { inputOwner, linearGroups } from "../tune/groups.js";
import { type BlockData, trainBlock, type TrainBlockOptions } from "../tune/train-block.js";
import { Activations } from "./activations.js";
import { asJson, rowOf, type RunContext, someWindows } from "./context.js";
import { FactorisePool } from "./factorise-pool.js";
import { linearTask } from "./factorise-task.js";
import { inputGrams, type InputGrams } from "./input-grams.js";

/** Raised when the steps compute something else from the same inputs. */
const VERSION = 2;

/** Latents that training will start from. Blocks are tuned with unit ones only. */
function latentsOf({ recipe, tune }: Pick<RunContext, "recipe" | "tune">, tuned: boolean): "unit" | "raw" {
  return tune === "full" && !tuned ? recipe.full.latents : "unit";
}

export interface CompressedBlocks {
  readonly blocks: readonly BlockState[];
  /** Key of the last block's step, or of all of them where blocks do not depend on one another. */
  readonly keys: readonly StepKey[];
  /** Block losses, mean over blocks, where blocks were tuned. */
  readonly lossBefore?: number;
  readonly lossAfter?: number;
}

interface BlockSummary {
  readonly lossBefore: number;
  readonly lossAfter: number;
}

/** Whether a run tunes its blocks, which then depend on those before them. */
export function blocksAreTuned({ recipe, tune }: Pick<RunContext, "recipe" | "tune">): boolean {
  const { blocks } = recipe;
  const asked = tune === "full" ? blocks.beforeFull : tune !== "none";
  return asked && blocks.epochs + blocks.denseEpochs > 0;
}

/**
 * Factorises every block of the plan and, with `tuned`, tunes it.
 *
 * @param tuned without it every block comes from the original weights as it is, whatever the run does later
 */
export async function compressBlocks(
  context: RunContext,
  moments: Moments,
  momentsKey: StepKey,
  tuned = blocksAreTuned(context),
): Promise<CompressedBlocks> {
  const compressor = new BlockCompressor(context, moments, momentsKey, tuned);
  try {
    return await compressor.all();
  } finally {
    await compressor.close();
  }
}

class BlockCompressor {
  readonly #context: RunContext;
  readonly #moments: Moments;
  readonly #momentsKey: StepKey;
  readonly #pool: FactorisePool;
  readonly #latentSteps: LatentSteps;
  /** Whether blocks are tuned, and so depend on those before them. */
  readonly #tuned: boolean;
  /** Makes the blocks that are tuned, where nothing before it changes what is factorised. */
  readonly #plain: BlockCompressor | undefined;
  #student: Activations | undefined;
  #teacher: Activations | undefined;

  constructor(context: RunContext, moments: Moments, momentsKey: StepKey, tuned: boolean) {
    this.#context = context;
    this.#moments = moments;
    this.#momentsKey = momentsKey;
    this.#pool = new FactorisePool(context.compile.threads ?? 1, context.signal);
    this.#latentSteps = new LatentSteps(
      { surrogate: { kind: "tanh", width: 1 }, limit: LATENT_LIMIT },
      context.compile,
    );
    this.#tuned = tuned;
    const { blocks, factorise } = context.recipe;
    const untouched = tuned && blocks.denseEpochs === 0 && factorise.gram === "diagonal";
    this.#plain = untouched ? new BlockCompressor(context, moments, momentsKey, false) : undefined;
  }

  async close(): Promise<void> {
    await this.#plain?.close();
    await this.#pool.close();
    await this.#latentSteps.dispose();
    await this.#student?.close();
    await this.#teacher?.close();
  }

  async all(): Promise<CompressedBlocks> {
    const { spec, model, plan, onProgress, signal } = this.#context;
    const blocks: BlockState[] = [];
    const keys: StepKey[] = [];
    const summaries: BlockSummary[] = [];
    for (let layer = 0; layer < spec.layers; layer++) {
      throwIfAborted(signal);
      onProgress({ stage: "blocks", done: layer, total: spec.layers, unit: "blocks" });
      const inputs = this.#tuned && layer > 0 ? [this.#momentsKey, keys[layer - 1]] : [this.#momentsKey];
      const { artefact, key } = await this.#step(layer, blocks, inputs);
      keys.push(key);
      blocks.push(await blockFromArtefact(model, layer, plan.rows, artefact));
      if (artefact.json !== null) summaries.push(artefact.json as unknown as BlockSummary);
    }
    onProgress({ stage: "blocks", done: spec.layers, total: spec.layers, unit: "blocks" });
    if (summaries.length === 0) return { blocks, keys };
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    return {
      blocks,
      keys,
      lossBefore: mean(summaries.map((summary) => summary.lossBefore)),
      lossAfter: mean(summaries.map((summary) => summary.lossAfter)),
    };
  }

  /** One block by itself, where none depends on another. */
  async one(layer: number): Promise<BlockState> {
    const { artefact } = await this.#step(layer, [], [this.#momentsKey]);
    return blockFromArtefact(this.#context.model, layer, this.#context.plan.rows, artefact);
  }

  async #step(layer: number, before: readonly BlockState[], inputs: readonly StepKey[]): Promise<StepResult> {
    const { ledger } = this.#context;
    const step = this.#spec(`block-${layer}`, layer, { tuned: this.#tuned }, inputs);
    const result = await ledger.step(step, () => this.#block(layer, before, inputs));
    if (!result.reused) await ledger.forget(`part-${layer}-`);
    return result;
  }

  #spec(name: string, layer: number, extra: Json, inputs: readonly StepKey[]): StepSpec {
    const { plan, recipe, seed, root, endsKey } = this.#context;
    const rows = plan.rows.filter((row) => row.site.layer === layer);
    const params = {
      layer,
      extra,
      factoriser: plan.factoriser,
      init: plan.init,
      schedule: plan.schedule,
      rows: rows.map(({ site, kind, method, rank, ranks, paths, envelope, midScale, scaleBits }) =>
        asJson({ role: site.role, kind, method, rank, ranks, paths, envelope, midScale, scaleBits }),
      ),
      factorise: asJson(recipe.factorise),
      blocks: this.#tuned ? asJson(recipe.blocks) : null,
      ...(latentsOf(this.#context, this.#tuned) === "raw" && { latents: "raw" }),
      seed,
    };
    // Tuned blocks learn on what the student's own embedding hands them.
    return { name, version: VERSION, params, inputs: [root, ...(this.#tuned ? [endsKey] : []), ...inputs] };
  }

  async #block(layer: number, before: readonly BlockState[], inputs: readonly StepKey[]): Promise<Artefact> {
    const { plan, model, recipe } = this.#context;
    const rows = plan.rows.filter((row) => row.site.layer === layer);
    let state = copyBlock(await readDenseBlock(model, layer));
    if (rows.every((row) => row.kind === "dense")) return blockToArtefact(state);
    const data = this.#tuned ? await this.#data(layer, before) : undefined;
    if (data && this.#plain) return this.#tune(await this.#plain.one(layer), data, before, layer);
    const gram = this.#gramsOf(layer, data);
    let keys = inputs;
    for (const [index, group] of linearGroups(plan.method, plan.schedule, model.spec.linears).entries()) {
      const name = `part-${layer}-${group.join("")}`;
      // Before the first group of the first block there is no error to absorb yet.
      if (data && recipe.blocks.denseEpochs > 0 && layer + index > 0) {
        const dense = state;
        const step = this.#spec(`${name}-dense`, layer, { group: group.join() }, keys);
        const tuned = await this.#context.ledger.step(step, async () => {
          const trained = await this.#train(dense, data, "dense", layer);
          return { arrays: denseArrays(trained.state), json: null };
        });
        state = withArrays(state, tuned.artefact.arrays as ReadonlyMap<string, Float32Array>);
        keys = [tuned.key];
      }
      const made = await Promise.all(
        group.map((role) => this.#factorise(name, layer, role, state, keys, gram)),
      );
      keys = made.map(({ key }) => key);
      state = {
        ...state,
        linears: { ...state.linears, ...Object.fromEntries(made.map((one) => [one.role, one.linear])) },
      };
    }
    return data ? this.#tune(state, data, before, layer) : blockToArtefact(state);
  }

  async #tune(
    state: BlockState,
    data: BlockData,
    before: readonly BlockState[],
    layer: number,
  ): Promise<Artefact> {
    const { state: tuned, lossBefore, lossAfter } = await this.#train(state, data, "signs", layer);
    await this.#advance([...before, tuned], layer + 1);
    return { ...blockToArtefact(tuned), json: { lossBefore, lossAfter } };
  }

  /** Inputs and targets of a block; activations move through the blocks before it where they have not yet. */
  async #data(layer: number, before: readonly BlockState[]): Promise<BlockData> {
    const { teacher, windows, recipe, teacherEnds, studentEnds } = this.#context;
    const some = someWindows(windows, recipe.blocks.windows);
    this.#student ??= await Activations.create(this.#context, some, studentEnds, "student");
    this.#teacher ??= await Activations.create(this.#context, some, teacherEnds, "teacher");
    await this.#advance(before, layer);
    while (this.#teacher.layer <= layer) {
      await this.#teacher.advance(teacher.forms, await teacher.feeds(this.#teacher.layer));
    }
    return {
      inputs: this.#student.store,
      targets: this.#teacher.store,
      importance: meanOne(this.#moments[layer].down.outputGradSquares),
      count: some.count,
      seqlen: some.seqlen,
      layer,
    };
  }

  async #advance(blocks: readonly BlockState[], layer: number): Promise<void> {
    const student = this.#student!;
    while (student.layer < layer) {
      const block = blocks[student.layer];
      await student.advance(blockForms(block), stateFeeds(block));
    }
  }

  #train(state: BlockState, data: BlockData, what: "dense" | "signs", layer: number) {
    const { spec, programs, recipe, seed, signal, onProgress } = this.#context;
    const { blocks } = recipe;
    const stage = `block ${layer + 1}/${spec.layers}: ${what === "dense" ? "prepare" : "tune"}`;
    const options: TrainBlockOptions = {
      epochs: what === "dense" ? blocks.denseEpochs : blocks.epochs,
      rates:
        what === "dense"
          ? { latents: 0, scales: 0, norms: 0, weights: blocks.denseRate }
          : { ...blocks.rates, weights: 0 },
      batch: blocks.batch,
      warmup: blocks.warmup,
      beta1: blocks.beta1,
      beta2: blocks.beta2,
      floor: blocks.floor,
      seed: seed + layer,
      onStep: (done, total) => onProgress({ stage, done, total, unit: "steps" }),
      ...(signal && { signal }),
    };
    return trainBlock(spec, state, data, programs, this.#latentSteps, options);
  }

  async #factorise(
    name: string,
    layer: number,
    role: LinearRole,
    state: BlockState,
    inputs: readonly StepKey[],
    gram: GramOf,
  ): Promise<{ role: LinearRole; key: StepKey; linear: LinearState }> {
    const linear = state.linears[role];
    const row = rowOf(this.#context.plan, { layer, role });
    if (linear.kind !== "dense" || row.kind === "dense") return { role, key: inputs[0], linear };
    const { weight, rows, cols, bias } = linear;
    const step = this.#spec(`${name}-${role}`, layer, { role }, inputs);
    const { artefact, key } = await this.#context.ledger.step(step, async () => {
      const options = linearTask(this.#context, row, this.#moments[layer][role], await gram(role));
      const made = await this.#pool.run({ weight, rows, cols, options });
      const latents = latentsOf(this.#context, this.#tuned);
      const arrays = new Map(linearArrays(stateOfFactorised(made, bias, latents)));
      return { arrays, json: { relError: made.weightedRelError } };
    });
    const found = withLinearArrays(emptyState(row, bias), (array) => floats(artefact, array));
    return { role, key, linear: found };
  }

  /** E[x x^T] of the inputs of linears, made for the whole block when the first one is asked for; nothing without. */
  #gramsOf(layer: number, data: BlockData | undefined): GramOf {
    if (this.#context.recipe.factorise.gram !== "full") return () => Promise.resolve(undefined);
    let made: Promise<InputGrams> | undefined;
    return async (role) =>
      (await (made ??= this.#grams(layer, data))).get(inputOwner(role, this.#context.spec.linears));
  }

  /** Over the activations of the compressed prefix where blocks are tuned, else of the teacher. */
  async #grams(layer: number, data: BlockData | undefined): Promise<InputGrams> {
    const { teacher, windows, recipe, teacherEnds } = this.#context;
    const feeds = await teacher.feeds(layer);
    if (data) return inputGrams(this.#context, teacher.forms, feeds, data);
    const some = someWindows(windows, recipe.calibrate.windows);
    this.#teacher ??= await Activations.create(this.#context, some, teacherEnds, "teacher");
    while (this.#teacher.layer < layer) {
      await this.#teacher.advance(teacher.forms, await teacher.feeds(this.#teacher.layer));
    }
    const { count, seqlen } = some;
    return inputGrams(this.#context, teacher.forms, feeds, {
      inputs: this.#teacher.store,
      count,
      seqlen,
      layer,
    });
  }
}

/** The Gram matrix of a linear's inputs, where the run wants them. */
type GramOf = (role: LinearRole) => Promise<Float32Array | undefined>;

/** Weights of the linears that are still dense. */
function denseArrays(state: BlockState): Map<string, Float32Array> {
  return new Map([...blockArrays(state)].filter(([name]) => /^(q|k|v|o|gate|up|down)\.weight$/.test(name)));
}

/** Scaled to a mean of 1; ones where there is nothing to go by. */
function meanOne(values: Float32Array): Float32Array {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return mean > 0 ? values.map((value) => value / mean) : values.map(() => 1);
}
