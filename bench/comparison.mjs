// Turns what the other scripts measured (bench/results/comparison/) into docs/comparison.md:  node bench/comparison.mjs
//
//   factorise.jsonl, sweep.jsonl   node bench/factorise.mjs ...       errors of single matrices
//   methods-*.jsonl                node bench/methods.mjs ...         perplexities of whole models
//   allocation.jsonl, tables.jsonl, metric.jsonl   the same, with options that are compared
//   envelope.json                  node bench/envelope.mjs            time of envelopes
//   large-matrix.jsonl             node bench/large-matrix.mjs        one 8192 x 28672 matrix
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const folder = join(import.meta.dirname, "results", "comparison");
const rowsOf = (name) =>
  existsSync(join(folder, name))
    ? readFileSync(join(folder, name), "utf8")
        .trim()
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    : [];
const table = (head, body) =>
  [head, head.map(() => "---"), ...body].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
const fixed = (value, digits) => (value === undefined || value === null ? "" : value.toFixed(digits));
const unique = (values) => [...new Set(values)];
const megabytes = (bytes) => (bytes / 1e6).toFixed(2);
const percent = (ratio) => `${ratio >= 1 ? "+" : ""}${((ratio - 1) * 100).toFixed(1)} %`;
/** Perplexities grow far beyond what digits behind the point would mean. */
const perplexity = (value) =>
  value === undefined ? "" : value >= 1000 ? Math.round(value).toLocaleString("en-US") : value.toFixed(2);

function factorisation() {
  const rows = rowsOf("factorise.jsonl");
  return table(
    [
      "matrix",
      "bpw",
      "method",
      "rank",
      "bits stored",
      "error",
      "official error",
      "",
      "CPU seconds",
      "official CPU seconds",
      "2048³ products",
    ],
    rows.map((row) => [
      row.matrix,
      row.bpwTarget,
      `\`${row.asked}\``,
      row.rank ?? "",
      fixed(row.bpw, 4),
      fixed(row.relError, 4),
      row.official ? `${fixed(row.official.relError, 4)} ${row.official.method}` : "",
      row.official ? percent(row.relError / row.official.relError) : "",
      fixed(row.cpuSeconds, 1),
      row.official ? fixed(row.official.seconds, 1) : "",
      // Wall time means something only where nothing else ran.
      row.seconds < 1.15 * row.cpuSeconds ? fixed(row.ratioToMatmul, 1) : "",
    ]),
  );
}

function stagePerplexity(row, stage) {
  return row.stages.find((made) => made.stage === stage)?.perplexity;
}

/** Rows of methods, columns of sizes: after initialisation -> after block tuning (weight file). */
function methodTable(rows) {
  const sizes = unique(rows.filter((row) => row.asked !== null).map((row) => row.asked)).sort(
    (a, b) => b - a,
  );
  const cell = (row) => {
    if (!row) return "";
    const start = stagePerplexity(row, "factorise") ?? stagePerplexity(row, "blocks");
    const tuned =
      stagePerplexity(row, "factorise") === undefined ? undefined : stagePerplexity(row, "blocks");
    const stages = [start, tuned].filter((value) => value !== undefined).map(perplexity);
    return `${stages.join(" → ")} (${fixed(row.bpw, 3)} bpw, ${megabytes(row.fileBytes)} MB)`;
  };
  return table(
    ["method", ...sizes.map((size) => `${size} bpw`)],
    unique(rows.map((row) => row.label)).map((label) => {
      const own = rows.filter((row) => row.label === label);
      // OneBit has no choice of size.
      if (own[0].asked === null) return [`\`${label}\``, cell(own[0]), ...sizes.slice(1).map(() => "")];
      return [`\`${label}\``, ...sizes.map((size) => cell(own.find((row) => row.asked === size)))];
    }),
  );
}

function methods() {
  const files = existsSync(folder)
    ? readdirSync(folder).filter((name) => /^methods-.*\.jsonl$/.test(name))
    : [];
  return files
    .sort()
    .reverse()
    .flatMap((file) => {
      const rows = rowsOf(file);
      return unique(rows.map((row) => row.title)).map((title) => {
        const own = rows.filter((row) => row.title === title);
        const teacher = own[0].quality?.perplexityTeacher;
        const options = unique(
          own.map((row) =>
            row.arguments
              .filter((part) => !/[/\\]/.test(part))
              .join(" ")
              .replace(/--eval-text ?|--calibration ?/g, "")
              .trim(),
          ),
        );
        return `### ${title}\n\nTeacher: ${perplexity(teacher)}. Options: ${options.map((text) => `\`${text}\``).join("; ")}.\n\n${methodTable(own)}`;
      });
    })
    .join("\n\n");
}

/** One line a run, for options that are compared. */
function runs(file) {
  return table(
    [
      "run",
      "bpw asked",
      "bits stored",
      "weight file MB",
      "as factorised",
      "blocks tuned",
      "packed file (runtime)",
      "CPU seconds",
    ],
    rowsOf(file).map((row) => [
      row.title,
      row.asked ?? "",
      fixed(row.bpw, 4),
      megabytes(row.fileBytes),
      perplexity(
        stagePerplexity(row, "factorise") ??
          (row.arguments.includes("none") ? stagePerplexity(row, "blocks") : undefined),
      ),
      row.arguments.includes("none") ? "" : perplexity(stagePerplexity(row, "blocks")),
      perplexity(row.quality?.perplexity),
      fixed(row.cpuSeconds, 0),
    ]),
  );
}

function sweep() {
  return table(
    ["matrix", "bpw", "paths", "l", "rank", "bits stored", "error", "CPU seconds"],
    rowsOf("sweep.jsonl").map((row) => [
      row.matrix,
      row.bpwTarget,
      row.paths,
      row.envelope,
      row.rank,
      fixed(row.bpw, 4),
      fixed(row.relError, 4),
      fixed(row.cpuSeconds, 1),
    ]),
  );
}

function envelope() {
  const path = join(folder, "envelope.json");
  if (!existsSync(path)) return "";
  const { rows, rank, cols, rounds, measured } = JSON.parse(readFileSync(path, "utf8"));
  const body = measured.map(({ threads, envelope: l, terms, milliseconds, ofOneTerm, ofShared }) => [
    threads,
    l,
    terms,
    fixed(milliseconds.median, 3),
    fixed(ofOneTerm?.median, 2),
    fixed(ofShared?.median, 2),
  ]);
  return `${rows} x ${cols}, rank ${rank}, one token, medians of ${rounds} interleaved rounds.\n\n${table(["threads", "l", "way", "ms", "times l = 1", "times shared"], body)}`;
}

function largeMatrix() {
  return table(
    [
      "matrix",
      "bpw asked",
      "bits stored",
      "rank",
      "iterations",
      "threads",
      "seconds",
      "CPU seconds",
      "peak RSS MB",
      "error",
    ],
    rowsOf("large-matrix.jsonl").map((row) => [
      `${row.rows} x ${row.cols}`,
      row.asked,
      fixed(row.bpw, 4),
      row.rank,
      row.iterations,
      row.threads,
      fixed(row.seconds, 0),
      fixed(row.cpuSeconds, 0),
      fixed(row.peakRssBytes / 1e6, 0),
      fixed(row.relError, 4),
    ]),
  );
}

writeFileSync(
  join(import.meta.dirname, "..", "docs", "comparison.md"),
  `# Methods compared

Generated by \`node bench/comparison.mjs\` from what the scripts named there measured on two cores of a shared virtual machine without a GPU; do not edit. Bits count every stored byte of the linears.

## Single matrices, beside the official codes

Relative error ||W - What|| / ||W|| after scales are rounded as stored, one thread. Official errors are those of the papers' own code on the same matrices at no more bits, their seconds those of one thread of another, busy machine; the last column, given where nothing else ran, is our wall time over that of a 2048 x 2048 x 2048 product in single precision on the same engine and thread. \`auto\` (8-bit scales) is compared with the best official method.

${factorisation()}

## Whole models

Perplexity as factorised → after block tuning (engine), with the bits and bytes of the packed file.

${methods()}

## Ranks by predicted loss

\`--allocate loss\` against \`uniform\` at equal bits.

${runs("allocation.jsonl")}

## The metric of errors

\`--gram full\` (all second moments of the inputs) against \`diagonal\` (their mean squares).

${runs("metric.jsonl")}

With both, and all of \`--tune full\`: stories-11m, 64 windows, four passes.

${table(
  ["run", "bpw asked", "bits stored", "as factorised", "distilled", "packed file (runtime)", "CPU seconds"],
  rowsOf("full-tune.jsonl").map((row) => [
    row.title,
    row.asked,
    fixed(row.bpw, 4),
    perplexity(stagePerplexity(row, "blocks")),
    perplexity(stagePerplexity(row, "full")),
    perplexity(row.quality?.perplexity),
    fixed(row.cpuSeconds, 0),
  ]),
)}

## Envelopes and paths of MDBF at equal stored bits

${sweep()}

## Time of an envelope

shared: 2 l sign products, the l terms of a factor in one pass over its signs (how models run); apart: a pass over the signs for each; pairs: the paper's sum written out, l² products of both factors.

${envelope()}

## One large matrix

\`node bench/large-matrix.mjs\`: the MLP of a 70B model, with the default method.

${largeMatrix()}

## Embedding and head

${runs("tables.jsonl")}
`,
);
