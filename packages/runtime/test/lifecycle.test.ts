/** Threads: they end when asked, fail loudly, sleep when idle, and never keep a process alive. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { afterEach, describe, expect, it, vi } from "vitest";
import { CTRL_END, CTRL_TOKENS, CTRL_TOKEN_IDS, DTYPE_F32, OP_EMBED } from "../src/abi.js";
import { workerExecutor } from "../src/executors/workers.js";
import type { SpawnThread } from "../src/executors/worker-source.js";
import { loadModel } from "../src/index.js";
import { collectGarbage } from "../src/node/engine-flags.js";
import { spawnNodeThread, turnEventLoop } from "../src/node/spawn-thread.js";
import { compileKernels } from "../src/wasm/compile.js";
import { probeWasm } from "../src/wasm/probes.js";
import { tinyModel } from "./tiny-models.js";

/** Spawns real threads and counts those alive. */
function countingSpawn() {
  const alive = { count: 0 };
  const spawn: SpawnThread = (events) => {
    alive.count++;
    const thread = spawnNodeThread({
      message: (message) => events.message(message),
      failure: (reason) => {
        if (reason.includes("ended with code")) alive.count--;
        events.failure(reason);
      },
    });
    return thread;
  };
  return { alive, spawn };
}

/** An executor over one instruction that looks `ids` up in a table of one row; an id out of memory traps its thread. */
async function embedder(threads: number, here: boolean) {
  await probeWasm();
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
  const words = new Uint32Array(memory.buffer);
  words[CTRL_TOKENS >> 2] = 2;
  // dst at 65536, stride 32; table at 16384, 1 row of 16 columns of 4 bytes.
  words.set([OP_EMBED, 0, 0, 65536, 32, 16384, DTYPE_F32, 1, 16, 64], CTRL_END >> 2);
  const { alive, spawn } = countingSpawn();
  const executor = workerExecutor(spawn, await compileKernels("baseline", true), memory, {
    threads,
    cpus: threads,
    turn: here ? turnEventLoop : undefined,
  });
  await executor.ready();
  const run = (...ids: number[]): Promise<void> => {
    words.set(ids, CTRL_TOKEN_IDS >> 2);
    return executor.run(CTRL_END, CTRL_END + 64);
  };
  return { alive, executor, run };
}

describe("worker threads", () => {
  it.each([
    [1, false],
    [2, false],
    [3, false],
    [1, true],
    [2, true],
    [3, true],
  ])("%i of them work, sleep, work again and end; the caller is one: %j", async (threads, here) => {
    const { alive, executor, run } = await embedder(threads, here);
    for (let round = 0; round < 20; round++) {
      await run(0, 0);
      if (round % 5 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    // A busy machine may have made the caller hand its part over.
    expect([threads, ...(here ? [threads - 1] : [])]).toContain(alive.count);
    await executor.dispose();
    expect(alive.count).toBe(0);
    await executor.dispose();
  });

  it.each([false, true])(
    "a trap in any thread rejects the caller (%j: which is one), and every call after it",
    async (here) => {
      for (const ids of [
        [0x1000000, 0],
        [0, 0x1000000],
      ]) {
        const { alive, executor, run } = await embedder(2, here);
        await expect(run(...ids)).rejects.toMatchObject({
          code: "internal",
          message: expect.stringContaining("out of bounds"),
        });
        await expect(run(0, 0)).rejects.toMatchObject({ code: "internal" });
        await executor.dispose();
        expect(alive.count).toBe(0);
      }
    },
  );

  it("changes their number between runs, any way round, asleep or awake; those that are not needed end", async () => {
    const { alive, executor, run } = await embedder(4, true);
    for (let round = 0; round < 300; round++) {
      executor.use(1 + ((round * 7) % 4));
      await run(0, 0);
      if (round % 60 === 59) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await executor.trim(2);
    // A busy machine may have made it start a thread 0 of its own.
    expect(executor.size).toBe(2);
    expect(alive.count).toBeLessThanOrEqual(2);
    for (let round = 0; round < 20; round++) await run(0, 0);
    await executor.dispose();
    expect(alive.count).toBe(0);
  });

  it("disposing a working model rejects what is under way", async () => {
    const model = await loadModel(tinyModel({ seed: 2, layers: 6 }), undefined, { threads: 2 });
    const pending = expect(model.complete([1, 2, 3], { maxTokens: 100 })).rejects.toMatchObject({
      code: "usage",
    });
    await new Promise((resolve) => setTimeout(resolve, 5));
    await model.dispose();
    await pending;
    await expect(model.logits([1])).rejects.toMatchObject({ code: "usage" });
  });

  it("an idle model uses no processor time", async () => {
    const model = await loadModel(tinyModel({ seed: 2 }), undefined, { threads: 2 });
    await model.complete([1, 2, 3], { maxTokens: 10 });
    await new Promise((resolve) => setTimeout(resolve, 50));
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 400));
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1000).toBeLessThan(150);
    await model.dispose();
  });
});

describe("disposed models", () => {
  /** Memories that were made and not collected. */
  function watchMemories() {
    const made: WeakRef<WebAssembly.Memory>[] = [];
    class Watched extends WebAssembly.Memory {
      constructor(descriptor: WebAssembly.MemoryDescriptor) {
        super(descriptor);
        made.push(new WeakRef(this));
      }
    }
    vi.stubGlobal("WebAssembly", Object.create(WebAssembly, { Memory: { value: Watched } }));
    const alive = async (): Promise<number> => {
      // What was looked at through a weak reference stays until the next turn.
      await turnEventLoop();
      collectGarbage();
      return made.filter((memory) => memory.deref() !== undefined).length;
    };
    return alive;
  }
  afterEach(() => void vi.unstubAllGlobals());

  it("give their memory back, used or not, and after a load that was stopped", async () => {
    const alive = watchMemories();
    for (let cycle = 0; cycle < 6; cycle++) {
      const model = await loadModel(tinyModel({ seed: 2 }), undefined, { threads: 1 + (cycle % 3) });
      if (cycle > 2) await model.complete([1, 2, 3], { maxTokens: 4 });
      await model.dispose();
    }
    const abort = new AbortController();
    const onProgress = (): void => abort.abort();
    const stopped = loadModel(tinyModel({ seed: 2 }), undefined, { signal: abort.signal, onProgress });
    await expect(stopped).rejects.toMatchObject({ code: "interrupted" });
    // The last one may still stand on the stack.
    expect(await alive()).toBeLessThanOrEqual(1);
  });

  it("do not disturb others: two at once give what each gives alone", async () => {
    const ids = [5, 6, 7, 8];
    const alone: number[][] = [];
    for (const seed of [2, 3]) {
      const model = await loadModel(tinyModel({ seed }), undefined, { threads: 2 });
      alone.push((await model.complete(ids, { maxTokens: 20 })).ids);
      await model.dispose();
    }
    const [first, second] = await Promise.all(
      [2, 3].map((seed) => loadModel(tinyModel({ seed }), undefined, { threads: 2 })),
    );
    const both = await Promise.all([first, second].map((model) => model.complete(ids, { maxTokens: 20 })));
    expect(both.map((result) => result.ids)).toEqual(alone);
    await first.dispose();
    expect((await second.complete(ids, { maxTokens: 20 })).ids).toEqual(alone[1]);
    await second.dispose();
  });
});

describe("a process that forgets to dispose", () => {
  const entry = new URL("../dist/index.js", import.meta.url);
  it.skipIf(!existsSync(entry) || !existsSync("models/stories-11m"))(
    "ends by itself, after its work",
    async () => {
      const script = `
      const { load } = await import(${JSON.stringify(entry.href)});
      const model = await load("models/stories-11m", { threads: 2, contextTokens: 64 });
      const { ids } = await model.complete("Once", { maxTokens: 8 });
      process.stdout.write(ids.length + " tokens");`;
      const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], {
        timeout: 30_000,
      });
      expect(stdout).toBe("8 tokens");
    },
  );
});

/** Growth that 100 cycles may leave, by the median of the last against the median before: allocators keep a little. */
const MAX_GROWTH_BYTES = 5e6;

describe.skipIf(process.env["SUBBIT_SLOW_TESTS"] === undefined)("over a long time", () => {
  const entry = new URL("../dist/index.js", import.meta.url);
  const run = async (script: string): Promise<string> => {
    const source = `const { load } = await import(${JSON.stringify(entry.href)});
      const open = () => load("models/stories-11m-0.8bpw", { threads: 2, contextTokens: 256 });
      ${script}`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", source]);
    return stdout;
  };

  it("200 loads, texts and ends leave no more memory behind than 100", async () => {
    const out = await run(`const rss = [];
      for (let cycle = 0; cycle < 200; cycle++) {
        const model = await open();
        await model.complete("Once", { maxTokens: 8 });
        await model.dispose();
        rss.push(process.memoryUsage().rss);
      }
      process.stdout.write(JSON.stringify(rss));`);
    const rss = JSON.parse(out) as number[];
    const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1];
    expect(median(rss.slice(180)) - median(rss.slice(80, 100))).toBeLessThan(MAX_GROWTH_BYTES);
  });

  it("an idle model uses less than one percent of a processor", async () => {
    const out = await run(`const model = await open();
      await model.complete("Once", { maxTokens: 8 });
      await new Promise((resolve) => setTimeout(resolve, 500));
      const before = process.cpuUsage();
      await new Promise((resolve) => setTimeout(resolve, 2000));
      const { user, system } = process.cpuUsage(before);
      process.stdout.write(String((user + system) / 2e6));
      await model.dispose();`);
    expect(Number(out)).toBeLessThan(0.01);
  });
});

describe("loading", () => {
  const model = tinyModel({ seed: 3 });

  it("refuses what cannot fit before it reads a weight", async () => {
    const ends = { ...model.spec.ends, embeddingSize: 2 ** 13 };
    const huge = { ...model.spec, vocabSize: 2 ** 20, hiddenSize: 2 ** 13, ends };
    const unread = (): never => {
      throw new Error("a weight was read");
    };
    const asked = loadModel({
      ...model,
      spec: huge,
      embedding: unread,
      linear: unread,
      head: unread,
      norm: unread,
    });
    await expect(asked).rejects.toMatchObject({
      code: "resources",
      message: expect.stringMatching(/needs \d+ bytes/),
    });
  });

  it("counts the KV cache of a long context", async () => {
    const long = { ...model.spec, maxPositions: 2 ** 24 };
    await expect(
      loadModel({ ...model, spec: long }, undefined, { contextTokens: 2 ** 24 }),
    ).rejects.toMatchObject({
      code: "resources",
    });
  });

  it.each([
    { threads: 0 },
    { threads: 1.5 },
    { threads: 65 },
    { contextTokens: 129 },
    { contextTokens: 0 },
    { tileTokens: 0 },
    { tileTokens: 257 },
  ])("refuses %j", async (options) => {
    await expect(loadModel(model, undefined, options)).rejects.toMatchObject({ code: "usage" });
  });

  it("stops when the signal fires and reports every block", async () => {
    await expect(loadModel(model, undefined, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "interrupted",
    });
    const done: number[] = [];
    const runtime = await loadModel(model, undefined, {
      threads: 1,
      onProgress: (event) => done.push(event.done / event.total),
    });
    expect(done).toEqual([0, 1 / 3, 2 / 3, 1]);
    expect(runtime.capabilities).toMatchObject({ device: "cpu", threads: 1 });
    await runtime.dispose();
  });
});
