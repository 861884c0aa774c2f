/** Random repositories, servers of them and caches for tests. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import {
  startModelServer,
  type ModelServer,
  type ModelServerOptions,
} from "../../../test/support/model-server.mjs";
import { createHub, type Hub, type HubOptions, type HubSettings } from "../src/index.js";

/** Small, so that files of some hundred kilobytes have many. */
export const BLOCK_BYTES = 64 * 1024;

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "subbit-hub-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Numbers in [0, 1) (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function randomBytes(count: number, random: () => number): Buffer {
  const bytes = Buffer.alloc(count);
  for (let i = 0; i < count; i++) bytes[i] = Math.floor(random() * 256);
  return bytes;
}

/** As a model's folder has them, of random bytes: nothing here looks into them. */
export function randomRepo(seed: number, weightBytes = 300_000): Record<string, Buffer> {
  const random = randomNumbers(seed);
  return {
    "config.json": Buffer.from(`{"model_type": "llama", "seed": ${seed}}`),
    "tokenizer.json": randomBytes(5000 + Math.floor(random() * 5000), random),
    "model.safetensors": randomBytes(weightBytes + Math.floor(random() * 1000), random),
    "README.md": Buffer.from("# A model"),
  };
}

const servers: ModelServer[] = [];
afterAll(() => Promise.all(servers.map((server) => server.close())));

export async function serve(options: ModelServerOptions): Promise<ModelServer> {
  const server = await startModelServer(options);
  servers.push(server);
  return server;
}

export function hubFor(
  server: Pick<ModelServer, "url">,
  cache: string,
  { settings, ...options }: Omit<HubOptions, "settings"> & { settings?: Partial<HubSettings> } = {},
): Hub {
  const base: HubSettings = {
    endpoint: server.url,
    offline: false,
    hubCache: join(cache, "hub"),
    urlCache: join(cache, "urls"),
    // Long: the machine that runs this may be busy.
    stallMs: 20_000,
  };
  return createHub({ settings: { ...base, ...settings }, retry: { attempts: 5, pauseMs: 1 }, ...options });
}
