/** Stopped downloads go on where they were, and trust nothing on disk that they have not checked. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { ProgressEvent } from "@subbit/core";
import type { Fault } from "../../../test/support/model-server.mjs";
import { parseRemoteSource, pullToCache, pullToFolder } from "../src/index.js";
import { BLOCK_BYTES, hubFor, randomRepo, serve, temporaryFolder } from "./support.js";

const folder = temporaryFolder();
const REPO = "org/name";
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const options = { blockBytes: BLOCK_BYTES };

/** A cache in which the weights came about half before the network went away. */
async function halfDownloaded(name: string) {
  const files = randomRepo(3, 1_000_000);
  let served = 0;
  let limit = 600_000;
  const fault = (): Fault | undefined =>
    (served += BLOCK_BYTES) > limit ? { kind: "status", status: 503 } : undefined;
  const server = await serve({ repos: { [REPO]: files }, fault });
  const hub = hubFor(server, join(folder, name), { connections: 1 });
  const source = parseRemoteSource(`hf:${REPO}`, hub.settings);
  await expect(pullToCache(hub, source, options)).rejects.toThrow(/503.*run the same command again/);
  limit = Infinity;
  return { files, server, hub, source, blobs: join(folder, name, "hub", "models--org--name", "blobs") };
}

it("only asks for what is missing", async () => {
  const { files, server, hub, source, blobs } = await halfDownloaded("missing");
  expect(readdirSync(blobs).some((name) => name.endsWith(".part"))).toBe(true);
  const before = server.bytesSent;
  const events: ProgressEvent[] = [];
  const pulled = await pullToCache(hub, source, { ...options, onProgress: (event) => events.push(event) });
  expect(readFileSync(join(pulled.path, "model.safetensors")).equals(files["model.safetensors"])).toBe(true);
  expect(server.bytesSent - before).toBeLessThan(600_000);
  expect(readdirSync(blobs).filter((name) => name.includes(".part"))).toEqual([]);

  // One figure over all files, from what was there to everything.
  const total = ["config.json", "tokenizer.json", "model.safetensors"].reduce(
    (sum, name) => sum + files[name].length,
    0,
  );
  const download = events.filter(({ stage }) => stage === `download hf:${REPO}`);
  expect(new Set(download.map((event) => event.total))).toEqual(new Set([total]));
  expect(download.every(({ done }, i) => i === 0 || done >= download[i - 1].done)).toBe(true);
  expect(download.at(-1)?.done).toBe(total);
});

it("fetches blocks again whose bytes on disk are not those that came", async () => {
  const { files, server, hub, source, blobs } = await halfDownloaded("tampered");
  const part = join(
    blobs,
    readdirSync(blobs).find((name) => name.endsWith(".part"))!,
  );
  const bytes = readFileSync(part);
  bytes[100] ^= 1;
  writeFileSync(part, bytes);
  const before = server.requests.length;
  const pulled = await pullToCache(hub, source, options);
  expect(readFileSync(join(pulled.path, "model.safetensors")).equals(files["model.safetensors"])).toBe(true);
  const ranges = server.requests.slice(before).map(({ range }) => range);
  expect(ranges).toContain(`bytes=0-${BLOCK_BYTES - 1}`);
});

it("stops at once when told to, and keeps what came", async () => {
  const files = randomRepo(4, 2_000_000);
  const server = await serve({ repos: { [REPO]: files }, fault: () => ({ kind: "slow", milliseconds: 10 }) });
  const stop = new AbortController();
  const cache = join(folder, "stopped");
  const hub = hubFor(server, cache, { signal: stop.signal, connections: 2 });
  const source = parseRemoteSource(`hf:${REPO}`, hub.settings);
  const onProgress = ({ done }: ProgressEvent): void => void (done > 500_000 && stop.abort());
  await expect(pullToCache(hub, source, { ...options, onProgress })).rejects.toMatchObject({
    code: "interrupted",
  });
  const sent = server.bytesSent;
  const again = await pullToCache(hubFor(server, cache), source, options);
  expect(again.files.find(({ name }) => name === "model.safetensors")?.sha256).toBe(
    sha256(files["model.safetensors"]),
  );
  expect(server.bytesSent).toBeLessThan(sent + 1_900_000);
});

it("says both hashes when the bytes stay wrong, and keeps nothing of them", async () => {
  const files = randomRepo(5);
  const server = await serve({
    repos: { [REPO]: files },
    fault: ({ path }) => (path.endsWith(".safetensors") ? { kind: "corrupt" } : undefined),
  });
  const hub = hubFor(server, join(folder, "corrupt"));
  const source = parseRemoteSource(`hf:${REPO}`, hub.settings);
  const dir = join(folder, "corrupt-dir");
  const promised = sha256(files["model.safetensors"]);
  await expect(pullToFolder(hub, source, dir, options)).rejects.toThrow(
    new RegExp(`sha256 [0-9a-f]{64}.*${promised}`),
  );
  expect(existsSync(dir)).toBe(false);
  expect(readdirSync(join(folder, ".corrupt-dir.download")).filter((name) => name.includes(".part"))).toEqual(
    [],
  );
});

it("checks the disk before anything is fetched", async () => {
  const server = await serve({ repos: { [REPO]: randomRepo(6) } });
  const hub = hubFor(server, join(folder, "full"));
  const source = parseRemoteSource(`hf:${REPO}`, hub.settings);
  const full = { ...options, freeBytes: () => Promise.resolve(1000) };
  await expect(pullToCache(hub, source, full)).rejects.toMatchObject({ code: "resources" });
  expect(server.bytesSent).toBe(0);
});
