/** Servers that cut, stall, lie, truncate and damage: a download ends in the right bytes or in one clear sentence. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { SubbitError } from "@subbit/core";
import { describe, expect, it } from "vitest";
import type { Fault } from "../../../test/support/model-server.mjs";
import { parseRemoteSource, pullToCache, pullToFolder, type Hub } from "../src/index.js";
import { BLOCK_BYTES, hubFor, randomNumbers, randomRepo, serve, temporaryFolder } from "./support.js";

const folder = temporaryFolder();
const SCENARIOS = 50;
/** Short, as a stall lasts so long; a busy machine then sees some that are none, which is a failure like any other. */
const STALL_MS = 150;

function randomFault(random: () => number): Fault {
  const kinds: Fault[] = [
    { kind: "cut", after: Math.floor(random() * 70_000) },
    { kind: "cut", after: 0 },
    { kind: "stall", after: Math.floor(random() * 70_000) },
    { kind: "slow", milliseconds: 20 },
    { kind: "status", status: [404, 403, 416, 429, 500, 503][Math.floor(random() * 6)] },
    { kind: "shift" },
    { kind: "longer" },
    { kind: "shorter" },
    { kind: "corrupt" },
    { kind: "whole" },
    { kind: "no-length" },
    { kind: "other-size" },
    { kind: "gzip" },
  ];
  return kinds[Math.floor(random() * kinds.length)];
}

/** Some scenarios are bad luck now and then, some are a server with one vice. */
function scenario(seed: number): () => Fault | undefined {
  const random = randomNumbers(seed);
  const rate = [0.1, 0.3, 0.7, 1][Math.floor(random() * 4)];
  const vice = random() < 0.4 ? randomFault(random) : undefined;
  return () => (random() < rate ? (vice ?? randomFault(random)) : undefined);
}

describe("random scenarios of faults", () => {
  const seeds = Array.from({ length: SCENARIOS }, (_, seed) => seed);
  it.concurrent.each(seeds)("seed %i", async (seed) => {
    const files = randomRepo(seed);
    let fault = scenario(seed);
    const plain = seed % 2 === 1;
    const place = "org/name";
    const server = await serve({
      repos: { [place]: files },
      folders: { [place]: files },
      fault: () => fault(),
    });
    const cache = join(folder, `cache-${seed}`);
    const dir = join(folder, `dir-${seed}`);
    const hub = hubFor(server, cache, { settings: { stallMs: STALL_MS } });
    const source = parseRemoteSource(plain ? `${server.url}/plain/${place}` : `hf:${place}`, hub.settings);
    const pull = (to: Hub) =>
      seed % 3 === 0
        ? pullToFolder(to, source, dir, { blockBytes: BLOCK_BYTES })
        : pullToCache(to, source, { blockBytes: BLOCK_BYTES });

    const expectRight = (path: string): void => {
      for (const name of ["config.json", "tokenizer.json", "model.safetensors"]) {
        // A plain server promises nothing: damage that keeps the size cannot be seen there.
        if (plain && name !== "config.json")
          expect(readFileSync(join(path, name)).length).toBe(files[name].length);
        else if (!plain) expect(readFileSync(join(path, name)).equals(files[name]), name).toBe(true);
      }
    };
    let failed = false;
    try {
      expectRight((await pull(hub)).path);
    } catch (error) {
      failed = true;
      expect(error).toBeInstanceOf(SubbitError);
      const { code, message } = error as SubbitError;
      expect(["input", "network"]).toContain(code);
      expect(message).toMatch(/^\S.*[.]$/);
      expect(message).not.toContain("\n");
      expect(existsSync(dir)).toBe(false);
      expect(existsSync(join(cache, "hub", "models--org--name", "snapshots"))).toBe(false);
    }
    // A server that recovered, and what came before, give the right bytes.
    fault = () => undefined;
    if (failed) expectRight((await pull(hubFor(server, cache))).path);
    if (existsSync(dir)) expect(readdirSync(dir).filter((name) => name.includes("part"))).toEqual([]);
  });
});
