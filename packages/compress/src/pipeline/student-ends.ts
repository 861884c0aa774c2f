/**
 * Embedding and head of the student, before anything is trained: the values that will be stored. Factored tables are
 * ledger steps; a token's row counts like any other's, because a tied table serves every row of the head.
 */
import {
  type FactoredLinear,
  type FactoredPath,
  type SignMatrix,
  SubbitError,
  tableValues,
  wordsPerRow,
} from "@subbit/core";
import { denseEnds } from "../package/packed-model.js";
import { type Artefact, type ArtefactArray, floats } from "../ledger/artefact.js";
import { Factoriser } from "../factorise/factoriser.js";
import type { StepKey } from "../ledger/ledger.js";
import type { TableRow } from "../plan/plan.js";
import type { EndsState } from "../student/model-state.js";
import { ranksOf } from "../student/from-plan.js";
import { asJson, type RunContext } from "./context.js";
import { tableTask } from "./factorise-task.js";

/** Raised when a step computes something else from the same inputs. */
const VERSION = 1;

export interface StudentEnds {
  readonly studentEnds: EndsState;
  /** What they were made by. */
  readonly endsKey: StepKey;
}

type EndsContext = Pick<
  RunContext,
  | "model"
  | "plan"
  | "recipe"
  | "seed"
  | "ledger"
  | "teacherEnds"
  | "root"
  | "compile"
  | "onProgress"
  | "signal"
>;

/** The ends that the plan asks for; a head that is tied stays so. */
export async function makeStudentEnds(context: EndsContext): Promise<StudentEnds> {
  const { model, plan, teacherEnds } = context;
  if (plan.embedding.kind === "dense") {
    return {
      studentEnds: await denseEnds(model, teacherEnds, plan.embedBits),
      endsKey: `${plan.embedBits} bits`,
    };
  }
  // One large matrix after the other: threads serve the products, not several matrices.
  const factoriser = new Factoriser({ threads: context.compile.threads ?? 1 });
  try {
    const embedding = await factoredTable(context, factoriser, plan.embedding, teacherEnds.embedding);
    const head = plan.head && (await factoredTable(context, factoriser, plan.head, teacherEnds.head));
    const values = tableValues(embedding.table);
    return {
      studentEnds: {
        ...teacherEnds,
        embedding: values,
        head: head ? tableValues(head.table) : values,
        factored: { embedding: embedding.table, ...(head && { head: head.table }) },
      },
      endsKey: [embedding.key, ...(head ? [head.key] : [])].join(),
    };
  } finally {
    await factoriser.dispose();
  }
}

async function factoredTable(
  context: EndsContext,
  factoriser: Factoriser,
  row: TableRow,
  values: Float32Array,
): Promise<{ table: FactoredLinear; key: StepKey }> {
  const { plan, recipe, seed, ledger, root, onProgress, signal } = context;
  const { part, rows, cols } = row;
  const options = tableTask(plan, recipe, seed, row);
  const spec = { name: `table-${part}`, version: VERSION, params: asJson(options), inputs: [root] };
  const { artefact, key } = await ledger.step(spec, async () => {
    const { linear, relError } = await factoriser.factorise(values, rows, cols, {
      ...options,
      onProgress: (event) => onProgress({ ...event, stage: `factorise ${part}` }),
      ...(signal && { signal }),
    });
    if (linear.kind !== "factored")
      throw new SubbitError("internal", `A ${part} table came back unfactored.`);
    return { arrays: tableArrays(linear), json: { relError } };
  });
  return { table: tableFrom(row, artefact), key };
}

function tableArrays({ paths }: FactoredLinear): Map<string, ArtefactArray> {
  const arrays = new Map<string, ArtefactArray>();
  for (const [p, { outSigns, inSigns, outScales, inScales, midIn, midOut }] of paths.entries()) {
    const own = { outSigns: outSigns.words, inSigns: inSigns.words, outScales, inScales, midIn, midOut };
    for (const [name, array] of Object.entries(own)) if (array) arrays.set(`paths.${p}.${name}`, array);
  }
  return arrays;
}

function tableFrom(row: TableRow, artefact: Artefact): FactoredLinear {
  const { rows, cols, envelope, scaleBits } = row;
  const paths = ranksOf(row).map((rank, p): FactoredPath => {
    const scales = (name: string) => floats(artefact, `paths.${p}.${name}`);
    const has = (name: string) => artefact.arrays.has(`paths.${p}.${name}`);
    return {
      rank,
      envelope,
      outSigns: signsFrom(artefact, `paths.${p}.outSigns`, rows, rank),
      inSigns: signsFrom(artefact, `paths.${p}.inSigns`, rank, cols),
      outScales: scales("outScales"),
      inScales: scales("inScales"),
      ...(has("midIn") && { midIn: scales("midIn") }),
      ...(has("midOut") && { midOut: scales("midOut") }),
    };
  });
  return { kind: "factored", rows, cols, paths, scaleBits };
}

function signsFrom({ arrays }: Artefact, name: string, rows: number, cols: number): SignMatrix {
  const words = arrays.get(name);
  if (!(words instanceof Uint32Array) || words.length !== rows * wordsPerRow(cols)) {
    throw new SubbitError("internal", `An artefact lacks the signs ${name} of ${rows} x ${cols}.`);
  }
  return { rows, cols, words };
}
