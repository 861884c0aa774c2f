/** Remote files as byte sources: any read gives the bytes of the file, and memory is bounded. */
import { describe, expect, it } from "vitest";
import { HttpClient } from "../src/http/client.js";
import { probeFile } from "../src/listing/probe.js";
import { PIECE_BYTES, httpSource } from "../src/remote/http-source.js";
import { PieceCache } from "../src/remote/piece-cache.js";
import { randomBytes, randomNumbers, serve } from "./support.js";
import type { Fault, ModelServer } from "../../../test/support/model-server.mjs";

const random = randomNumbers(11);
const content = randomBytes(6 * PIECE_BYTES + 12345, random);

async function open(server: ModelServer, readAheadBytes: number) {
  const client = new HttpClient({
    endpoint: "http://nowhere",
    stallMs: 20_000,
    retry: { attempts: 4, pauseMs: 1 },
  });
  const file = await probeFile(client, new URL(`${server.url}/plain/model/`), "weights");
  return httpSource(client, file!, new PieceCache(8), { readAheadBytes });
}

describe.each([0, 4 * PIECE_BYTES])("with %i bytes of read-ahead", (readAheadBytes) => {
  it("random reads give the bytes of the file, whatever is cut on the way", async () => {
    const fault = (): Fault | undefined =>
      random() < 0.2 ? { kind: "cut", after: Math.floor(random() * 1e5) } : undefined;
    const server = await serve({ folders: { model: { weights: content } }, fault });
    const source = await open(server, readAheadBytes);
    expect(source.sizeBytes).toBe(content.length);
    for (let trial = 0; trial < 30; trial++) {
      const offset = Math.floor(random() * content.length);
      const length = Math.floor(random() ** 3 * (content.length - offset));
      const bytes = await source.read(offset, length);
      expect(content.subarray(offset, offset + length).equals(bytes)).toBe(true);
    }
    await expect(source.read(content.length - 1, 2)).rejects.toMatchObject({ code: "input" });
  });

  it("reads in order give the bytes of the file, each asked for once", async () => {
    const server = await serve({ folders: { model: { weights: content } } });
    const source = await open(server, readAheadBytes);
    const step = 100_000;
    for (let at = 0; at < content.length; at += step) {
      const length = Math.min(step, content.length - at);
      expect(content.subarray(at, at + length).equals(await source.read(at, length))).toBe(true);
    }
    expect(server.bytesSent).toBeLessThanOrEqual(content.length + 1);
  });
});

it("a file that changes meanwhile is not mixed with what it was", async () => {
  const faults: Fault[] = [];
  const server = await serve({ folders: { model: { weights: content } }, fault: () => faults[0] });
  const source = await open(server, 0);
  await source.read(0, 100);
  faults.push({ kind: "other-size" });
  await expect(source.read(3 * PIECE_BYTES, 100)).rejects.toThrow(/is not the file it was/);
});
