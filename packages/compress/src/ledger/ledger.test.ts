import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Artefact, floats } from "./artefact.js";
import { canonicalJson } from "./canonical.js";
import { Ledger, type StepSpec } from "./ledger.js";

const spec: StepSpec = { name: "square", version: 1, params: { b: 2, a: 1 }, inputs: ["x"] };
const artefact = (): Artefact => ({
  arrays: new Map([
    ["odd", Float32Array.of(1, 4, 9)],
    ["words", Uint32Array.of(7)],
  ]),
  json: { note: "squares", of: [1, 2, 3] },
});

describe("Ledger", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "subbit-ledger-"));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  async function run(step: StepSpec, make = artefact): Promise<{ made: number; value: Artefact }> {
    const ledger = await Ledger.open(folder);
    let made = 0;
    try {
      const result = await ledger.step(step, async () => {
        made++;
        return make();
      });
      return { made, value: result.artefact };
    } finally {
      await ledger.close();
    }
  }

  it("computes a step once and then finds it, arrays and JSON equal", async () => {
    expect((await run(spec)).made).toBe(1);
    const again = await run({ ...spec, params: { a: 1, b: 2 } });
    expect(again.made).toBe(0);
    expect([...floats(again.value, "odd")]).toEqual([1, 4, 9]);
    expect(again.value.json).toEqual({ note: "squares", of: [1, 2, 3] });
  });

  it.each([
    ["version", { version: 2 }],
    ["parameters", { params: { a: 1, b: 3 } }],
    ["inputs", { inputs: ["y"] }],
    ["name", { name: "cube" }],
  ])("computes anew when the %s differs", async (_, change) => {
    await run(spec);
    expect((await run({ ...spec, ...change })).made).toBe(1);
  });

  it("makes a truncated or altered artefact again", async () => {
    await run(spec);
    const file = join(
      folder,
      (await readdir(folder)).find((name) => name.endsWith(".safetensors"))!,
    );
    const whole = await readFile(file);
    await truncate(file, whole.length - 5);
    expect((await run(spec)).made).toBe(1);
    const altered = Uint8Array.from(whole);
    altered[whole.length - 9] ^= 1;
    await writeFile(file, altered);
    expect((await run(spec)).made).toBe(1);
    expect(Buffer.compare(await readFile(file), whole)).toBe(0);
    expect((await run(spec)).made).toBe(0);
  });

  it("gives a step its last whole snapshot back, and drops it when the step is done", async () => {
    const ledger = await Ledger.open(folder);
    await expect(
      ledger.step(spec, async (context) => {
        expect(await context.restore()).toBeUndefined();
        for (const at of [1, 2, 3]) {
          await context.snapshot({ arrays: new Map([["at", Float32Array.of(at)]]), json: at });
        }
        throw new Error("killed");
      }),
    ).rejects.toThrow("killed");
    let seen = 0;
    await ledger.step(spec, async (context) => {
      const state = (await context.restore())!;
      seen = floats(state, "at")[0]!;
      return artefact();
    });
    await ledger.close();
    expect(seen).toBe(3);
    expect((await readdir(folder)).filter((name) => name.includes("snapshot"))).toEqual([]);
  });

  it("refuses a folder in use and takes over from a process that is gone", async () => {
    const ledger = await Ledger.open(folder);
    await expect(Ledger.open(folder)).rejects.toMatchObject({ code: "usage" });
    const holder = JSON.parse(await readFile(join(folder, "lock"), "utf8"));
    await ledger.close();
    // Larger than any pid Linux gives: no such process.
    await writeFile(join(folder, "lock"), JSON.stringify({ ...holder, pid: 2 ** 22 + 1 }));
    await (await Ledger.open(folder)).close();
    // The same pid with another start time is another process.
    await writeFile(join(folder, "lock"), JSON.stringify({ ...holder, started: "1" }));
    await (await Ledger.open(folder)).close();
    expect(await readdir(folder)).toEqual([]);
  });
});

describe("canonicalJson", () => {
  it("sorts keys at every depth and drops undefined members", () => {
    expect(canonicalJson({ b: [{ d: 1, c: "x" }], a: undefined, A: null })).toBe(
      '{"A":null,"b":[{"c":"x","d":1}]}',
    );
  });
  it("refuses numbers that JSON cannot hold", () => {
    expect(() => canonicalJson([Number.NaN])).toThrow(RangeError);
  });
});
