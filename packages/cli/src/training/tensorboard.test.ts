import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { crc32c, maskedCrc } from "./event-records.js";
import { EVENT_FILE, TensorBoardLog } from "./tensorboard.js";

const root = mkdtempSync(join(tmpdir(), "subbit-events-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const folder = (): string => join(root, String(folders++));

/** CRC32C bit by bit: what the table must agree with. */
function slowCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit++) {
      const low = (crc ^ (byte >> bit)) & 1;
      crc = (crc >>> 1) ^ (low ? 0x82f63b78 : 0);
    }
  }
  return ~crc >>> 0;
}

interface Point {
  readonly wall: number;
  readonly step: number;
  readonly tag: string;
  readonly value: number;
}

/** A reader of its own: walks the bytes of the format as its definition lists them, and checks both checksums. */
function readFile(path: string): { version: string; points: Point[] } {
  const file = readFileSync(path);
  const mask = (crc: number): number => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
  let version = "";
  const points: Point[] = [];
  for (let at = 0; at < file.length;) {
    const length = file.readUInt32LE(at);
    expect(file.readUInt32LE(at + 4)).toBe(0);
    expect(file.readUInt32LE(at + 8)).toBe(mask(slowCrc(file.subarray(at, at + 8))));
    const event = file.subarray(at + 12, at + 12 + length);
    expect(file.readUInt32LE(at + 12 + length)).toBe(mask(slowCrc(event)));
    at += length + 16;
    expect(event[0]).toBe(0x09);
    const wall = event.readDoubleLE(1);
    if (event[9] === 0x1a) {
      version = event.subarray(11, 11 + event[10]).toString();
      continue;
    }
    expect(event[9]).toBe(0x10);
    let p = 10;
    const number = (): number => {
      let value = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = event[p++];
        value |= (byte & 127) << shift;
        if (byte < 128) return value;
      }
    };
    const step = number();
    expect(event[p++]).toBe(0x2a);
    const summary = number();
    expect(p + summary).toBe(event.length);
    while (p < event.length) {
      expect(event[p++]).toBe(0x0a);
      number();
      expect(event[p++]).toBe(0x0a);
      const tagBytes = number();
      const tag = event.subarray(p, p + tagBytes).toString();
      p += tagBytes;
      expect(event[p++]).toBe(0x15);
      points.push({ wall, step, tag, value: event.readFloatLE(p) });
      p += 4;
    }
  }
  return { version, points };
}

const line = (step: number, loss = 1 / step) => ({
  step,
  tokens: step * 10_000,
  loss,
  logitsLoss: loss / 2,
  rate: 0.5,
  seconds: 2,
});
const clock = (): (() => number) => {
  let seconds = 1_700_000_000;
  return () => seconds++;
};

describe("CRC32C", () => {
  it("has the published values", () => {
    // RFC 3720, B.4, and the check value of the catalogue of CRCs.
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(255))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
    expect(maskedCrc(new Uint8Array(0))).toBe(0xa282ead8);
  });
});

describe("TensorBoardLog", () => {
  it("writes scalars by tag, step and time", () => {
    const dir = folder();
    const log = new TensorBoardLog(dir, clock());
    log.begin({ from: 0, evaluations: 0 });
    for (const step of [1, 2, 300]) log.write({ ...line(step), hiddenLoss: 0.25 });
    log.write({ step: 300, perplexity: 12.5 });
    log.close();
    const { version, points } = readFile(join(dir, EVENT_FILE));
    expect(version).toBe("brain.Event:2");
    const curve = (tag: string): [number, number][] =>
      points.filter((point) => point.tag === tag).map(({ step, value }) => [step, value]);
    expect(curve("train/loss")).toEqual([1, 2, 300].map((step) => [step, Math.fround(1 / step)]));
    expect(curve("train/hidden_loss").map(([, value]) => value)).toEqual([0.25, 0.25, 0.25]);
    expect(curve("evaluation/perplexity")).toEqual([[300, 12.5]]);
    expect(points[0].wall).toBe(1_700_000_001);
    expect(points.some(({ tag }) => tag === "train/gradient_norm")).toBe(false);
  });

  it("goes on where a run is resumed, no step twice, a cut-off record dropped", () => {
    const dir = folder();
    const first = new TensorBoardLog(dir);
    first.begin({ from: 0, evaluations: 0 });
    for (const step of [1, 2]) first.write(line(step));
    first.write({ step: 2, perplexity: 30 });
    for (const step of [3, 4]) first.write(line(step));
    first.write({ step: 4, perplexity: 20 });
    first.close();
    const path = join(dir, EVENT_FILE);
    appendFileSync(path, Buffer.from([9, 0, 0]));
    const second = new TensorBoardLog(dir);
    // The snapshot of step 4 was taken before that step's evaluation.
    second.begin({ from: 4, evaluations: 1 });
    second.write({ step: 4, perplexity: 20 });
    second.write(line(5));
    second.close();
    const steps = (tag: string): number[] =>
      readFile(path)
        .points.filter((point) => point.tag === tag)
        .map(({ step }) => step);
    expect(steps("train/loss")).toEqual([1, 2, 3, 4, 5]);
    expect(steps("evaluation/perplexity")).toEqual([2, 4]);
    truncateSync(path, readFileSync(path).length - 1);
    const third = new TensorBoardLog(dir);
    third.begin({ from: 5, evaluations: 2 });
    third.close();
    expect(steps("train/loss")).toEqual([1, 2, 3, 4]);
    const fresh = new TensorBoardLog(dir);
    fresh.begin({ from: 0, evaluations: 0 });
    fresh.close();
    expect(readFile(path).points).toEqual([]);
  });

  it("has no point for what is no number, and refuses a file that is not its own", () => {
    const dir = folder();
    const log = new TensorBoardLog(dir);
    log.begin({ from: 0, evaluations: 0 });
    log.write({ step: 1, perplexity: NaN });
    log.close();
    expect(readFile(join(dir, EVENT_FILE)).points).toEqual([]);
    writeFileSync(join(dir, EVENT_FILE), "something else altogether");
    expect(() => new TensorBoardLog(dir)).toThrow(/holds no events/);
    expect(readFileSync(join(dir, EVENT_FILE), "utf8")).toBe("something else altogether");
  });
});
