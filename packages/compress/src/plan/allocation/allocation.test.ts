import fc from "fast-check";
import { modelSpec } from "@subbit/core";
import { describe, expect, it } from "vitest";
import type { PlanOptions } from "../../options.js";
import type { LossAllocation } from "../plan.js";
import { planSpec } from "../plan-model.js";
import { rowBits } from "../rows.js";
import { allocate } from "./allocate.js";
import { choose } from "./choose.js";
import { fitCurve } from "./error-curve.js";
import { formsOf, measuredRanks, parseForms } from "./forms.js";
import { dampedFactors, sensitivity } from "./sensitivity.js";

/** Sums of some forty doubles in two orders. */
const ROUNDING = 1e-9;

const spec = modelSpec(
  {
    model_type: "llama",
    vocab_size: 160,
    hidden_size: 96,
    intermediate_size: 160,
    num_hidden_layers: 3,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: true,
  },
  "the test model",
);

interface Truth {
  readonly sensitivity: number;
  /** Squared error = exp(-decay * rank / smaller dimension). */
  readonly decay: number;
}

/** Plans by loss as if every linear's error were what `truth` says. */
function allocated(options: PlanOptions, truth: (index: number) => Truth, damping = 0.5) {
  // A form of its own, whatever auto stands for.
  const plan = planSpec(spec, { scaleBits: 16, ...options }, 0);
  const rows = plan.rows.filter((row) => row.kind === "factored");
  const forms = rows.map((row) => formsOf(plan, row, options.allocateForms));
  const measured = rows.map((row, i) => {
    const { sensitivity: worth, decay } = truth(i);
    const curves = forms[i].map((form) => ({
      paths: form.shape.paths,
      envelope: form.shape.envelope,
      points: measuredRanks(plan, row, form).map((rank) => ({
        rank,
        squaredError: Math.exp((-decay * rank * form.shape.paths) / Math.min(row.rows, row.cols)),
      })),
    }));
    return { name: row.name, sensitivity: worth, curves };
  });
  const made = allocate({ spec, plan, options, measured, forms, damping });
  return { plan, made, allocation: made.allocation as LossAllocation };
}

const truths = fc.array(
  fc.record({
    sensitivity: fc.double({ min: 0, max: 10, noNaN: true }),
    decay: fc.double({ min: 0.1, max: 4, noNaN: true }),
  }),
  { minLength: 21, maxLength: 21 },
);

describe("allocation by loss", () => {
  it("never costs more than the budget, and never predicts more than the uniform plan", () => {
    fc.assert(
      fc.property(truths, fc.double({ min: 1, max: 5, noNaN: true }), (truth, bpw) => {
        const { made, allocation } = allocated({ bpw }, (i) => truth[i]);
        expect(made.totals.compressedBpw).toBeLessThanOrEqual(bpw * (1 + ROUNDING));
        expect(allocation.objective).toBeLessThanOrEqual(allocation.objectiveUniform * (1 + ROUNDING));
        expect(made.totals.linearBytes).toBe(made.rows.reduce((sum, row) => sum + row.bytes, 0));
      }),
      { numRuns: 60 },
    );
  });

  it("fills a byte budget without passing it", () => {
    for (const bytes of [90_000, 110_000, 131_072]) {
      const { plan, made } = allocated({ bytes }, (i) => ({ sensitivity: 1 + i, decay: 1 + (i % 3) }));
      expect(plan.totals.fileBytes).toBeLessThanOrEqual(bytes);
      expect(made.totals.fileBytes).toBeLessThanOrEqual(bytes);
      // The cheapest step of any linear here is a rank of k: 5 words and 2 bytes of header digits.
      expect(made.totals.fileBytes).toBeGreaterThan(bytes - 64);
    }
  });

  it("predicts no higher loss for more bits", () => {
    fc.assert(
      fc.property(
        truths,
        fc.double({ min: 1, max: 4, noNaN: true }),
        fc.double({ min: 1, max: 1.5, noNaN: true }),
        (truth, bpw, more) => {
          // Bounds and steps follow the uniform ranks, so the same ones are given a larger budget.
          const plan = planSpec(spec, { bpw }, 0);
          const items = plan.rows.map((row, i) =>
            Array.from({ length: 40 }, (_, step) => ({
              bits: (step + 1) * 32 * (row.rows + row.cols),
              loss: truth[i].sensitivity * Math.exp((-truth[i].decay * step) / 20),
              what: step,
            })),
          );
          const bits = plan.rows.reduce((sum, row) => sum + rowBits(row), 0) + 2e5;
          const loss = (budget: number) => choose(items, budget).reduce((sum, one) => sum + one.loss, 0);
          expect(loss(bits * more)).toBeLessThanOrEqual(loss(bits) * (1 + ROUNDING));
        },
      ),
      { numRuns: 60 },
    );
  });

  it("gives equal linears equal ranks", () => {
    const { made } = allocated({ bpw: 2 }, (i) => ({ sensitivity: 1 + (i % 7), decay: 2 }));
    for (let i = 7; i < 21; i++) expect(made.rows[i].rank).toBe(made.rows[i % 7].rank);
    expect(new Set(made.rows.map((row) => row.rank)).size).toBeGreaterThan(3);
  });

  it("gives a linear without gradient the least, and what costs more, more", () => {
    const { plan, made } = allocated({ bpw: 3 }, (i) => ({
      sensitivity: i === 3 ? 0 : i === 10 ? 50 : 1,
      decay: 2,
    }));
    expect(made.rows[3].rank).toBe(Math.ceil(plan.rows[3].rank / 4));
    expect(made.rows[10].rank).toBeGreaterThan(made.rows[17].rank);
    const bounds = made.rows.map((row, i) => row.rank / plan.rows[i].rank);
    expect(Math.max(...bounds)).toBeLessThanOrEqual(4);
  });

  it("leaves everything as it is where all linears are alike", () => {
    const { plan, made } = allocated({ bpw: 2 }, () => ({ sensitivity: 1, decay: 2 }), 0);
    made.rows.forEach((row, i) => expect(Math.abs(row.bpw - plan.rows[i].bpw)).toBeLessThan(0.7));
  });

  it("keeps dense blocks dense, and ranks within the singular vectors of a spectral start", () => {
    const { made } = allocated({ method: "littlebit", bpw: 4, keepFirst: 1 }, (i) => ({
      sensitivity: i,
      decay: 2,
    }));
    for (const row of made.rows) {
      if (row.site.layer === 0) expect(row.kind).toBe("dense");
      else expect(row.rank).toBeLessThanOrEqual(Math.min(row.rows, row.cols));
    }
  });

  it("chooses among forms, each with its own bits", () => {
    const allocateForms = parseForms("1x1, 2x1,1x2");
    const { made } = allocated({ bpw: 3, allocateForms }, (i) => ({ sensitivity: 1 + i, decay: 2 }));
    expect(made.totals.compressedBpw).toBeLessThanOrEqual(3);
    for (const row of made.rows) expect(row.method).toBe(row.envelope > 1 ? "mdbf" : "nanoquant");
    for (const bad of ["", "1", "1x", "0x1", "9x1", "1x1;2x1", "1x123"])
      expect(() => parseForms(bad), bad).toThrow();
  });
});

describe("error curves", () => {
  it("go through measured points that fall ever more slowly, and through 1 at rank 0", () => {
    const curve = fitCurve({
      points: [
        { rank: 10, squaredError: 0.5 },
        { rank: 20, squaredError: 0.3 },
        { rank: 40, squaredError: 0.2 },
      ],
    });
    expect(curve(0)).toBe(1);
    expect(curve(10)).toBeCloseTo(0.5, 12);
    expect(curve(20)).toBeCloseTo(0.3, 12);
    expect(curve(40)).toBeCloseTo(0.2, 12);
    expect(curve(80)).toBeCloseTo(0.2 * (0.2 / 0.3) ** 2, 12);
  });

  it("never rise and are convex, whatever was measured", () => {
    const point = fc.record({
      rank: fc.integer({ min: 1, max: 60 }),
      squaredError: fc.double({ min: 0, max: 1.5, noNaN: true }),
    });
    fc.assert(
      fc.property(fc.array(point, { minLength: 1, maxLength: 5 }), (points) => {
        const curve = fitCurve({ points });
        const values = Array.from({ length: 100 }, (_, rank) => curve(rank));
        for (let i = 2; i < values.length; i++) {
          expect(values[i]).toBeLessThanOrEqual(values[i - 1]);
          expect(values[i - 1] - values[i]).toBeLessThanOrEqual(
            (values[i - 2] - values[i - 1]) * (1 + 1e-6) + 1e-12,
          );
        }
      }),
    );
  });
});

describe("sensitivities", () => {
  it("are half the error that matters at relative error 1", () => {
    const weight = Float32Array.of(1, 2, 3, 4, 5, 6);
    const moments = { inputSquares: Float32Array.of(1, 10, 100), outputGradSquares: Float32Array.of(2, 3) };
    expect(sensitivity(weight, moments)).toBe((2 * (1 + 40 + 900) + 3 * (16 + 250 + 3600)) / 2);
  });

  it("weigh nothing at damping 0 and all at damping 1", () => {
    const linears = [
      { weights: 10, sensitivity: 4 },
      { weights: 30, sensitivity: 1 },
    ];
    const [zero, one] = [0, 1].map((damping) => dampedFactors(linears, damping));
    expect(zero[0] / zero[1]).toBeCloseTo(1 / 3, 12);
    expect(one[0] / one[1]).toBeCloseTo(4, 12);
    expect(dampedFactors([{ weights: 7, sensitivity: 0 }])).toEqual([7]);
  });
});
