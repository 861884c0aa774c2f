/** Ranks by predicted loss in a whole run: planned without writing, found again by the run, within the budget. */
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  compress,
  type CompressOptions,
  parsePlanFile,
  planCompression,
  planModel,
  planToFile,
} from "../src/index.js";
import { tinyModel, tinyText } from "./tiny-model.js";

describe("allocation by loss", () => {
  let folder: string;
  let options: CompressOptions;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "subbit-allocation-"));
    options = {
      model: await tinyModel(),
      out: join(folder, "out"),
      calibration: tinyText(400),
      samples: 8,
      seqlen: 24,
      bpw: 4,
      threads: 1,
      tune: "none",
      allocate: "loss",
      recipe: { factorise: { iterations: 20 }, allocate: { iterations: 8 } },
    };
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it("plans what the run then does, and the run reuses what planning measured", async () => {
    const work = join(folder, "work");
    const planned = await planCompression({ ...options, work });
    expect(existsSync(options.out)).toBe(false);
    const { allocation } = planned;
    if (allocation.kind !== "loss") throw new Error("The plan was not made by loss.");
    expect(allocation.predicted).toBeGreaterThan(0);
    expect(allocation.objective).toBeLessThan(allocation.objectiveUniform);
    expect(allocation.linears).toHaveLength(14);
    for (const { curves, sensitivity } of allocation.linears) {
      expect(sensitivity).toBeGreaterThan(0);
      const [{ points }] = curves;
      expect(points.length).toBeGreaterThan(1);
      for (const { squaredError } of points) expect(squaredError).toBeLessThan(1.2);
    }
    expect(planned.totals.compressedBpw).toBeLessThanOrEqual(4);
    expect(planned.rows.map((row) => row.rank)).not.toEqual(
      planModel(options.model, options).rows.map((row) => row.rank),
    );

    const curves = async () => (await readdir(work)).filter((name) => name.startsWith("curve-")).sort();
    const before = await curves();
    expect(before).toHaveLength(28);
    const result = await compress({ ...options, work });
    expect(await curves()).toEqual(before);
    expect(result.plan).toEqual(planned);
    expect(result.fileBytes).toBe(planned.totals.fileBytes);
    const file = parsePlanFile(await readFile(join(work, "plan.json"), "utf8"), "plan.json");
    expect(file).toEqual(planToFile(planned));

    // By hand: the same plan from the file, with one linear kept dense.
    const [first] = Object.keys(file.linears);
    const edited = { ...file, linears: { ...file.linears, [first]: { keep: "dense" as const } } };
    delete options.bpw;
    delete options.allocate;
    const again = await compress({ ...options, out: join(folder, "edited"), plan: edited });
    expect(again.plan.rows[0].kind).toBe("dense");
    expect(again.plan.rows.slice(1).map((row) => row.rank)).toEqual(
      planned.rows.slice(1).map((row) => row.rank),
    );
    expect(again.fileBytes).toBe(again.plan.totals.fileBytes);
  });

  it("leaves nothing behind when it only plans", async () => {
    await writeFile(join(folder, "kept"), "");
    const before = await readdir(tmpdir());
    await planCompression(options);
    expect(await readdir(folder)).toEqual(["kept"]);
    expect((await readdir(tmpdir())).filter((name) => name.startsWith("subbit-plan-"))).toEqual(
      before.filter((name) => name.startsWith("subbit-plan-")),
    );
  });

  it("may choose among forms", async () => {
    const allocateForms = [
      { paths: 1, envelope: 1 },
      { paths: 2, envelope: 1 },
    ];
    const result = await compress({ ...options, allocateForms });
    expect(result.plan.totals.compressedBpw).toBeLessThanOrEqual(4);
    expect(result.fileBytes).toBe(result.plan.totals.fileBytes);
  });
});
