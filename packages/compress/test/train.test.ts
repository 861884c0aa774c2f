/** `train` on tiny models: every format learns and keeps its form, runs resume to the same bytes, misfits are refused. */
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LINEAR_ROLES, type LinearRole, type Model, openModel, referenceForward } from "@subbit/core";
import { openCheckpointAt, writeSubbit } from "@subbit/core/node";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { firstWindows, type Windows } from "../src/calibrate/windows.js";
import { Factoriser } from "../src/factorise/index.js";
import {
  type EvaluationText,
  planModel,
  train,
  type TrainOptions,
  trainRecipe,
  type TrainStart,
} from "../src/index.js";
import { packedModel } from "../src/package/packed-model.js";
import { Random } from "../src/random.js";
import { type DenseState, linearArrays, type LinearState } from "../src/student/linear-state.js";
import { readDenseBlock, readEnds } from "../src/student/model-state.js";
import { readPackedState } from "../src/student/read-packed.js";
import { statePerplexity } from "../src/student/perplexity.js";
import { copyBlock, type BlockState } from "../src/student/state.js";
import { latentMagnitude } from "../src/train/context.js";
import { type Format, FORMATS, handMade } from "./formats.js";
import { tinyModel } from "./tiny-model.js";

const SEQLEN = 20;
const WINDOWS = 6;
/** Enough for a tiny model to follow its teacher on a few windows. */
const TOKENS = 40 * SEQLEN;

let folder: string;
let teacher: Model;
/** Of the teacher's own making: a student's perplexity on it falls with its divergence from the teacher. */
let evaluation: EvaluationText;
let data: Windows;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "subbit-train-"));
  teacher = await tinyModel();
  evaluation = { ids: await teacherText(WINDOWS), name: "evaluation.txt", seqlen: SEQLEN };
  data = firstWindows(evaluation, SEQLEN);
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Windows of SEQLEN tokens drawn from the teacher's distribution. */
async function teacherText(windows: number): Promise<Int32Array> {
  const random = new Random(4);
  const { vocabSize } = teacher.spec;
  const text: number[] = [];
  for (let window = 0; window < windows; window++) {
    const ids = [random.nextInt(vocabSize)];
    while (ids.length < SEQLEN) {
      const logits = (await referenceForward(teacher, ids)).logits.subarray(-vocabSize);
      const weights = Array.from(logits, Math.exp);
      let left = random.next() * weights.reduce((sum, weight) => sum + weight, 0);
      ids.push(
        Math.max(
          0,
          weights.findIndex((weight) => (left -= weight) < 0),
        ),
      );
    }
    text.push(...ids);
  }
  return Int32Array.from(text);
}

/** A packed student of the format, made from the teacher by hand. */
async function writeStudent(format: Format, out: string): Promise<void> {
  const factoriser = new Factoriser();
  const random = new Random(9);
  const blocks: BlockState[] = [];
  for (let layer = 0; layer < teacher.spec.layers; layer++) {
    const dense = await readDenseBlock(teacher, layer);
    const linears = { ...dense.linears } as Record<LinearRole, LinearState>;
    // One linear stays dense: training must carry it along.
    for (const role of LINEAR_ROLES.filter((one) => layer > 0 || one !== "k")) {
      linears[role] = await handMade(format, dense.linears[role] as DenseState, factoriser, random);
    }
    blocks.push({ linears, norms: copyBlock(dense).norms });
  }
  await factoriser.dispose();
  const info = { writtenBy: "test", recipe: { made: "by hand" }, teacherSha256: "0".repeat(64) };
  const state = { blocks, ends: await readEnds(teacher) };
  await writeSubbit(out, packedModel(teacher, planModel(teacher, { bpw: 3 }), state, info));
}

async function open(path: string): Promise<Model> {
  return openModel(await openCheckpointAt(path));
}

function optionsOf(student: Model, change: Partial<TrainOptions> = {}): TrainOptions {
  return {
    student,
    teacher,
    out: join(folder, "out"),
    data,
    recipe: trainRecipe("default", { batch: 2 }),
    recipeName: "default",
    tokens: TOKENS,
    threads: 1,
    ...change,
  };
}

async function folderHash(path: string): Promise<string> {
  const hash = createHash("sha256");
  for (const name of (await readdir(path)).sort()) hash.update(name).update(await readFile(join(path, name)));
  return hash.digest("hex");
}

describe.each(FORMATS)("train of %s", (format) => {
  it("follows the teacher more closely, in the form that the student had", async () => {
    const source = join(folder, `student-${FORMATS.indexOf(format)}`);
    await writeStudent(format, source);
    const student = await open(source);
    const out = join(folder, `trained-${FORMATS.indexOf(format)}`);
    // At a magnitude of 1 no sign would flip in so few steps.
    const result = await train(optionsOf(student, { out, latentStart: 0.15 }));
    expect(result.lossAfter).toBeLessThan(0.9 * result.lossBefore);
    expect(result.losses).toHaveLength(result.steps);
    expect(result.tokens).toBe(TOKENS);
    const trained = await open(out);
    expect(trained.manifest!.linears).toEqual(student.manifest!.linears);
    expect(trained.manifest!.embedding).toEqual(student.manifest!.embedding);
    expect(trained.checkpoint.fileBytes).toBe(result.fileBytes);
    expect(trained.checkpoint.fileBytes).toBe(student.checkpoint.fileBytes);
    expect(trained.manifest!.recipe).toMatchObject({
      recipe: "default",
      steps: result.steps,
      parent: { name: source.split("/").at(-1), recipe: { made: "by hand" } },
    });
    const dense = { layer: 0, role: "k" } as const;
    expect(await trained.linear(dense)).toEqual(await student.linear(dense));
    const signsOf = async (model: Model) =>
      linearArrays((await readPackedState(model, 1)).blocks[1].linears.gate).filter(([name]) =>
        name.endsWith("Latents"),
      );
    expect(await signsOf(trained)).not.toEqual(await signsOf(student));
    await student.close();
    await trained.close();
  });
});

describe("train", () => {
  const source = () => join(folder, "student");
  let student: Model;
  beforeAll(async () => {
    await writeStudent("two paths of unequal rank", source());
    student = await open(source());
  });
  beforeEach(async () => {
    await rm(join(folder, "out"), { recursive: true, force: true });
  });

  it.each(["littlebit", "onebit", "dbf"] as const)("runs the recipe of %s", async (recipeName) => {
    const recipe = trainRecipe(recipeName, { batch: 2 });
    const result = await train(optionsOf(student, { recipe, recipeName, tokens: 8 * SEQLEN }));
    expect(result.losses.every(Number.isFinite)).toBe(true);
    expect(result.losses).toHaveLength(4);
  });

  it("starts latents where the surrogate has a slope", () => {
    for (const name of ["default", "littlebit", "onebit"] as const) {
      const { latents, surrogate } = trainRecipe(name);
      const at = latentMagnitude({ latents, surrogate });
      const width = surrogate.kind === "tanh" ? surrogate.width : 1;
      expect(1 - Math.tanh(width * at) ** 2).toBeGreaterThan(0.4);
    }
    expect(latentMagnitude({ latents: "unit", surrogate: { kind: "clipped" } })).toBeLessThan(1);
  });

  it.each([
    [
      "8-bit moments, an average, accumulated gradients",
      { accumulate: 2, average: 0.8, optimizerBits: 8, clip: 1 },
    ],
    ["both losses", { loss: { logits: 1, logitsPer: "token", hidden: 1, hiddenKind: "mse" } }],
  ] as const)(
    "gives equal bytes after any number of interruptions, and tells no step twice but those it does again: %s",
    async (_, change) => {
      const recipe = trainRecipe("default", { batch: 1, ...change });
      const options = optionsOf(student, { recipe, evaluation, evaluateEvery: 4, tokens: 12 * SEQLEN });
      const whole = await train(options);
      expect(whole.keptStep).toBeGreaterThan(0);
      const bytes = await folderHash(options.out);
      await rm(options.out, { recursive: true });

      const random = new Random(11);
      const work = await mkdtemp(join(folder, "work-"));
      const told: number[] = [];
      let interruptions = 0;
      for (;;) {
        const controller = new AbortController();
        let events = 1 + random.nextInt(6);
        const onStart = ({ from }: TrainStart) => void told.splice(from);
        try {
          const result = await train({
            ...options,
            work,
            // At any moment: after every step or never but when interrupted.
            checkpointSeconds: random.next() < 0.5 ? 0 : 1e6,
            signal: controller.signal,
            onStart,
            onStep: ({ step, loss }) => {
              expect(step).toBe(told.length + 1);
              told.push(loss);
              if (--events === 0) controller.abort();
            },
          });
          expect(result.evaluations).toEqual(whole.evaluations);
          break;
        } catch (error) {
          expect(error).toMatchObject({ code: "interrupted" });
          interruptions++;
        }
      }
      expect(interruptions).toBeGreaterThan(1);
      expect(told).toEqual(whole.losses);
      expect(await folderHash(options.out)).toBe(bytes);
      await rm(work, { recursive: true });
    },
    300_000,
  );

  it("keeps the state that is best on the evaluation text", async () => {
    const result = await train(optionsOf(student, { evaluation, evaluateEvery: 5 }));
    const best = result.evaluations.reduce((least, one) => (one.value < least.value ? one : least));
    expect(result.keptStep).toBe(best.step);
    expect(best.step).toBeGreaterThan(0);
    expect(result.evaluations.map(({ step }) => step)).toEqual([0, 5, 10, 15, 20]);
    const trained = await open(join(folder, "out"));
    const windows = firstWindows(evaluation, SEQLEN);
    const { perplexity } = await statePerplexity(teacher.spec, await readPackedState(trained, 1), windows, {
      threads: 1,
    });
    await trained.close();
    expect(Math.abs(Math.log(perplexity / best.value))).toBeLessThan(ROUNDED_SCALES);
  });

  it.each([
    ["judged by the evaluation text", true],
    ["judged by the data", false],
  ])("keeps the student as it was where no step was better: %s", async (_, evaluated) => {
    // Rates at which everything is thrown about.
    const recipe = trainRecipe("default", { rates: { latents: 3, scales: 3, norms: 3 } });
    const result = await train(
      optionsOf(student, { ...(evaluated && { evaluation }), recipe, tokens: 6 * SEQLEN }),
    );
    expect(result.keptStep).toBe(0);
    expect(result.warnings.join()).toContain("kept as it was");
    const trained = await open(join(folder, "out"));
    expect(await readPackedState(trained, 1)).toEqual(await readPackedState(student, 1));
    await trained.close();
  });

  it("names what does not fit, and writes nothing", async () => {
    const wide = await tinyModel(1, { vocab_size: 67 });
    const deep = await tinyModel(1, { num_hidden_layers: 1 });
    const cases: readonly [Partial<TrainOptions>, string, RegExp][] = [
      [{ teacher: wide }, "input", /vocab_size = 67.*61/],
      [{ teacher: deep }, "input", /num_hidden_layers = 1.*2/],
      [{ teacher: student }, "input", /teacher, but it is packed/],
      [{ student: teacher }, "input", /dense.*compress --tune full/],
      [{ data: { ...data, ids: data.ids.map(() => 61) } }, "input", /token id 61/],
      [{ data: { ids: new Int32Array(0), count: 0, seqlen: SEQLEN } }, "input", /0 tokens/],
      [{ evaluation: { ...evaluation, seqlen: 1000 } }, "input", /evaluation window/],
      [{ memoryLimit: 1e6 }, "resources", /memory/],
    ];
    for (const [change, code, message] of cases) {
      await expect(train(optionsOf(student, change))).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message) as string,
      });
    }
    expect(await readdir(folder)).not.toContain("out");
    expect(await readdir(folder)).not.toContain("out.work");
  });
});

/** Scales of 16 bits are off by up to 5e-4 of themselves, which moves the mean log-likelihood less. */
const ROUNDED_SCALES = 2e-3;
