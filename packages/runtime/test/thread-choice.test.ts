/** The number of threads: measured once, remembered, and never a reason for a load to fail. */
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import os, { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { measureThreads } from "../src/executors/thread-choice.js";
import type { Team } from "../src/executors/types.js";
import { loadModel } from "../src/index.js";
import { cacheFolder, readThreadChoice, writeThreadChoice } from "../src/node/thread-cache.js";
import { tinyModel } from "./tiny-models.js";

vi.mock("node:os", async (original) => ({ ...(await original<typeof os>()), loadavg: () => [load, 0, 0] }));
let load = 0;
let folder: string;

beforeEach(() => {
  load = 0;
  folder = mkdtempSync(join(tmpdir(), "subbit-threads-"));
  vi.stubEnv("SUBBIT_CACHE", join(folder, "cache"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

/** A team whose probe takes `ms[threads]` by a clock that it sets itself. */
function fakeTeam(ms: Readonly<Record<number, number>>) {
  vi.useFakeTimers({ toFake: ["performance"] });
  let threads = 4;
  const trimmed: number[] = [];
  const team: Team = {
    size: 4,
    ready: () => Promise.resolve(),
    use: (count) => void (threads = count),
    trim: (count) => Promise.resolve(void trimmed.push(count)),
    run: () => Promise.resolve(),
    dispose: () => Promise.resolve(),
  };
  const probe = (): Promise<void> => Promise.resolve(void vi.advanceTimersByTime(ms[threads]));
  return { team, probe, trimmed };
}

describe("measuring", () => {
  it.each([
    [{ 1: 8, 2: 5, 3: 4, 4: 3 }, 4],
    [{ 1: 8, 2: 5, 3: 4.875, 4: 4.875 }, 2],
    [{ 1: 5, 2: 6, 3: 7, 4: 9 }, 1],
  ])("%j milliseconds by threads: %i", async (ms, best) => {
    const { team, probe, trimmed } = fakeTeam(ms);
    expect(await measureThreads(team, probe, undefined)).toEqual({ threads: best, milliseconds: ms });
    expect(trimmed).toEqual([best]);
  });

  it("takes two rounds where a single one is long", async () => {
    const { team, probe } = fakeTeam({ 1: 200, 2: 120, 3: 110, 4: 100 });
    const begin = performance.now();
    await measureThreads(team, probe, undefined);
    expect(performance.now() - begin).toBe(100 + 2 * 530);
  });

  it("says what it found, and the same model remembers it", async () => {
    const whys: string[] = [];
    for (let i = 0; i < 2; i++) {
      const model = await loadModel(tinyModel({ seed: 9, hidden: 52 }));
      whys.push(model.capabilities.why);
      await model.dispose();
    }
    if (os.availableParallelism() === 1) return;
    expect(whys[0]).toMatch(/measured best just now \(1: [\d.]+ ms, 2: /);
    expect(whys[1]).toBe(whys[0].replace("just now", "earlier"));
  });
});

describe("the cache on disk", () => {
  const choice = { threads: 3, milliseconds: { 1: 2.5, 3: 1 } };
  const path = (): string => join(cacheFolder(), "threads.json");

  it("keeps choices by key and leaves nothing beside them", async () => {
    await writeThreadChoice("a", choice);
    await writeThreadChoice("b", { ...choice, threads: 1 });
    expect(await readThreadChoice("a")).toEqual(choice);
    expect(await readThreadChoice("b")).toMatchObject({ threads: 1 });
    expect(await readThreadChoice("c")).toBeUndefined();
    expect(readdirSync(cacheFolder())).toEqual(["threads.json"]);
  });

  it("ignores what is damaged, foreign or old", async () => {
    await writeThreadChoice("a", choice);
    const text = readFileSync(path(), "utf8");
    for (const wrong of [
      "{",
      "[]",
      "null",
      text.replace('"threads":3', '"threads":"3"'),
      text.replace('"threads":3', '"threads":0'),
      text.replace(/"measuredAt":\d+/, '"measuredAt":1'),
      text.replace(/ x \d+, V8 /, " x 999, V8 "),
    ]) {
      writeFileSync(path(), wrong);
      expect(await readThreadChoice("a"), wrong).toBeUndefined();
    }
    await writeThreadChoice("a", choice);
    expect(await readThreadChoice("a")).toEqual(choice);
  });

  it("neither fails where nothing can be written, nor keeps what a busy machine gave", async () => {
    load = 100;
    await writeThreadChoice("a", choice);
    load = 0;
    expect(await readThreadChoice("a")).toBeUndefined();
    writeFileSync(join(folder, "cache"), "a file");
    await writeThreadChoice("a", choice);
    expect(await readThreadChoice("a")).toBeUndefined();
  });
});
