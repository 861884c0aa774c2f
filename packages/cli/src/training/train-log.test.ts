import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readLog, type StepLine, TrainLog } from "./train-log.js";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "subbit-log-"));
  path = join(folder, "deep", "train.jsonl");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function stepLine(step: number): StepLine {
  return { step, tokens: 10 * step, loss: 1 / step, logitsLoss: 1 / step, rate: 1, seconds: 0.5 };
}

/** A run of steps `from` + 1 to `to` with an evaluation before the first step and after every second one. */
function run(log: TrainLog, from: number, to: number): void {
  log.begin({ from, evaluations: from === 0 ? 0 : 1 + Math.floor(from / 2) });
  if (from === 0) log.write({ step: 0, perplexity: 9 });
  for (let step = from + 1; step <= to; step++) {
    log.write(stepLine(step));
    if (step % 2 === 0) log.write({ step, perplexity: 9 - step });
  }
  log.close();
}

describe("the training log", () => {
  it("holds a line a step and an evaluation, and a resumed run leaves the same lines as one that was not stopped", () => {
    run(new TrainLog(path), 0, 8);
    const whole = readFileSync(path, "utf8");
    expect(whole.trim().split("\n")).toHaveLength(8 + 5);
    for (const from of [0, 1, 2, 5, 6]) {
      rmSync(path);
      run(new TrainLog(path), 0, 6);
      // Killed in the middle of a line.
      writeFileSync(path, `${readFileSync(path, "utf8")}{"step":7,"tok`);
      const resumed = new TrainLog(path);
      run(resumed, from, 8);
      expect(readFileSync(path, "utf8"), `from ${from}`).toBe(whole);
      expect(resumed.lines).toEqual(readLog(path));
    }
  });

  it("drops an evaluation that the snapshot knows nothing of", () => {
    run(new TrainLog(path), 0, 4);
    const log = new TrainLog(path);
    log.begin({ from: 4, evaluations: 2 });
    log.close();
    expect(readLog(path).at(-1)).toEqual(stepLine(4));
  });

  it.each(["one line", "not a log\nat all\n", '{"a":1}\n{"step":1,"loss":2}\n', "[1]\nnull\n"])(
    "leaves a file that is none alone: %j",
    (text) => {
      const other = join(folder, "other.txt");
      writeFileSync(other, text);
      expect(() => new TrainLog(other)).toThrow(/Line 1 of .*other\.txt is none of a training log/);
      expect(readFileSync(other, "utf8")).toBe(text);
    },
  );
});
