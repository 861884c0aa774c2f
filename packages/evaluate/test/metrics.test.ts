import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { summariseTask } from "../src/tasks/metrics.js";
import { readTaskRows } from "../src/tasks/read-rows.js";
import { TASKS } from "../src/tasks/registry.js";
import type { TaskRow } from "../src/tasks/types.js";
import { describeWithShared, sharedPath } from "./shared-files.js";

function row(number: number, gold: number, choices?: readonly string[]): TaskRow {
  const requests = [0, 1].map((i) => ({ context: "c", continuation: ` ${choices?.[i] ?? i}` }));
  return { row: number, requests, gold, ...(choices && { choices }) };
}

describe("summariseTask", () => {
  it("takes the likeliest choice, and for accNorm the likeliest character", () => {
    const report = summariseTask([row(3, 0, ["ab", "abcdef"])], [[-4, -6]]);
    expect(report.rows).toEqual([{ row: 3, logLikelihoods: [-4, -6], acc: 1, accNorm: 0 }]);
    expect(report).toMatchObject({ acc: 1, accNorm: 0, accStderr: null, accNormStderr: null, n: 1 });
  });

  it("counts code points, lets the first of equals win and an empty choice never", () => {
    // By UTF-16 units (4 and 2) the second would win.
    expect(summariseTask([row(0, 0, ["😀😀", "ab"])], [[-4, -4]])).toMatchObject({ acc: 1, accNorm: 1 });
    expect(summariseTask([row(0, 1, ["ab", "cd"])], [[-4, -4]])).toMatchObject({ acc: 0, accNorm: 0 });
    expect(summariseTask([row(0, 0, ["", "cd"])], [[-1, -9]])).toMatchObject({ acc: 1, accNorm: 0 });
  });

  it("has the sample's standard error", () => {
    const rows = [0, 1, 2, 3].map((number) => row(number, 0));
    const report = summariseTask(rows, [
      [-1, -2],
      [-1, -2],
      [-1, -2],
      [-2, -1],
    ]);
    // Three ones and a zero: variance 3/4 * 1/4 * 4/3 = 1/4.
    expect(report.acc).toBe(0.75);
    expect(report.accStderr).toBeCloseTo(0.25, 12);
    expect(report).toMatchObject({ accNorm: null, accNormStderr: null });
  });

  it("compares choices with a teacher's, right or wrong", () => {
    const rows = [row(0, 0), row(1, 0), row(2, 0)];
    const report = summariseTask(
      rows,
      [
        [-1, -2],
        [-2, -1],
        [-2, -1],
      ],
      [
        [-1, -2],
        [-5, -1],
        [-1, -5],
      ],
    );
    expect(report.choiceAgreement).toBeCloseTo(2 / 3, 12);
    expect(report.teacher?.acc).toBeCloseTo(2 / 3, 12);
    expect(report.acc).toBeCloseTo(1 / 3, 12);
  });
});

interface Reference {
  readonly acc: number;
  readonly acc_stderr: number;
  readonly acc_norm?: number;
  readonly acc_norm_stderr?: number;
  readonly per_row: readonly {
    readonly acc: number;
    readonly acc_norm?: number;
    readonly requests: readonly { readonly loglikelihood: number }[];
  }[];
}

/** The reference has six decimals. */
const DECIMALS = 6;

describeWithShared("scores of the harness", ["data/zeroshot", "reference/zeroshot_smollm2.json"], () => {
  it("follow from its log-likelihoods", () => {
    const { tasks } = JSON.parse(readFileSync(sharedPath("reference/zeroshot_smollm2.json"), "utf8")) as {
      tasks: Record<string, Reference>;
    };
    for (const task of TASKS) {
      const expected = tasks[task.name];
      const text = readFileSync(sharedPath("data/zeroshot", `${task.name}.jsonl`), "utf8");
      const rows = readTaskRows(task, task.name, text, { limit: expected.per_row.length });
      const report = summariseTask(
        rows,
        expected.per_row.map(({ requests }) => requests.map(({ loglikelihood }) => loglikelihood)),
      );
      expect(report.acc).toBeCloseTo(expected.acc, DECIMALS);
      expect(report.accStderr).toBeCloseTo(expected.acc_stderr, DECIMALS);
      expect(report.accNorm === null).toBe(expected.acc_norm === undefined);
      if (expected.acc_norm !== undefined) {
        expect(report.accNorm).toBeCloseTo(expected.acc_norm, DECIMALS);
        expect(report.accNormStderr).toBeCloseTo(expected.acc_norm_stderr ?? NaN, DECIMALS);
      }
      report.rows.forEach(({ acc, accNorm }, i) => {
        expect({ acc, accNorm }).toEqual({
          acc: expected.per_row[i].acc,
          accNorm: expected.per_row[i].acc_norm ?? null,
        });
      });
    }
  });
});
