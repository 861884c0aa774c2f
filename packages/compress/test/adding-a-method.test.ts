/** What docs/methods.md says about adding a method is true: its file and diff are applied to a copy and used. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { modelSpec } from "@subbit/core";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { factorise as Factorise } from "../src/index.js";
import type { planSpec as PlanSpec } from "../src/plan/plan-model.js";
import { Random } from "../src/random.js";
import { TINY_CONFIG } from "./tiny-model.js";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..", "..");
const PACKAGE = "packages/compress/";

let copy: string;
beforeAll(async () => {
  // Beside the tests, so that the copy finds the packages it imports.
  copy = await mkdtemp(join(here, ".adding-a-method-"));
  await cp(join(here, "..", "src"), join(copy, "src"), { recursive: true });
  const text = await readFile(join(root, "docs/methods.md"), "utf8");
  const [, path, code] =
    /`packages\/compress\/(src\/factorise\/methods\/\w+\.ts)`:\n\n```ts\n([\s\S]*?)```/.exec(text)!;
  await writeFile(join(copy, path), code);
  await applyDiff(/```diff\n([\s\S]*?)```/.exec(text)![1]);
});
afterAll(() => rm(copy, { recursive: true, force: true }));

/** Each run of lines that belong together must stand in its file exactly once as the diff has it. */
async function applyDiff(diff: string): Promise<void> {
  for (const part of diff.split(/^--- a\/.*\n/m).slice(1)) {
    const [target, ...lines] = part.trimEnd().split("\n");
    const file = join(copy, target.replace("+++ b/", "").replace(PACKAGE, ""));
    let content = await readFile(file, "utf8");
    for (const hunk of lines.join("\n").split("\n@@\n")) {
      const side = (without: string): string =>
        hunk
          .split("\n")
          .filter((line) => !line.startsWith(without))
          .map((line) => line.slice(1))
          .join("\n");
      expect(content.split(side("+"))).toHaveLength(2);
      content = content.replace(side("+"), side("-"));
    }
    await writeFile(file, content);
  }
}

it("gives a method that plans and factorises", async () => {
  const load = (path: string): Promise<Record<string, unknown>> =>
    import(/* @vite-ignore */ join(copy, "src", path)) as Promise<Record<string, unknown>>;
  const { factorise } = (await load("factorise/factorise.ts")) as { factorise: typeof Factorise };
  const { planSpec } = (await load("plan/plan-model.ts")) as { planSpec: typeof PlanSpec };
  const random = new Random(4);
  const [rows, cols] = [40, 30];
  const weight = Float32Array.from({ length: rows * cols }, () => random.next() - 0.5);
  const plain = "plain" as "nanoquant";
  const { linear, relError } = await factorise(weight, rows, cols, { method: plain, bpw: 2 });
  expect(linear.kind).toBe("factored");
  expect(relError).toBeLessThan(1);
  expect(relError).toBeGreaterThan(0.3);
  await expect(factorise(weight, rows, cols, { method: plain, init: "admm", bpw: 2 })).rejects.toThrow(/svd/);

  const plan = planSpec(modelSpec(TINY_CONFIG), { method: plain, bpw: 3 }, 0);
  expect(plan).toMatchObject({ method: "plain", init: "svd" });
  for (const row of plan.rows) expect(row).toMatchObject({ method: "plain", midScale: false, paths: 1 });
});
