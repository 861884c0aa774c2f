// The tables of docs/performance.md from bench/results/speed.json:  node bench/tables.mjs [--check]
// Only what stands between `<!-- generated: NAME -->` and `<!-- end -->` is replaced; the prose around it is written by hand.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { format, resolveConfig } from "prettier";

const results = join(import.meta.dirname, "results", "speed.json");
const page = join(import.meta.dirname, "..", "docs", "performance.md");

/** @param check only says whether the page shows what the results say */
export async function writeTables({ check = false } = {}) {
  const { parts } = existsSync(results) ? JSON.parse(readFileSync(results, "utf8")) : { parts: {} };
  const before = readFileSync(page, "utf8");
  const text = before.replace(
    /(<!-- generated: ([\w-]+) -->\n)[\s\S]*?(<!-- end -->)/g,
    (_, head, name, end) => `${head}\n${(tables[name] ?? unknown(name))(parts)}\n\n${end}`,
  );
  const after = await format(text, { ...(await resolveConfig(page)), filepath: page });
  if (!check) writeFileSync(page, after);
  return after === before;
}

/** Every table under its name, for a terminal. */
export function allTables(parts) {
  return Object.entries(tables)
    .map(([name, make]) => [name, make(parts)])
    .filter(([, text]) => text !== none())
    .map(([name, text]) => `${name}\n\n${text}\n`)
    .join("\n");
}

const tables = {
  machine: ({ ...parts }) => {
    const { machine } = Object.values(parts).find(({ result }) => result.machine)?.result ?? {};
    if (machine === undefined) return "Not measured yet.";
    const { cpu, cores, memoryBytes, node, platform } = machine;
    const commits = [
      ...new Set(Object.values(parts).map(({ commit, clean }) => `${commit}${clean ? "" : " and changes"}`)),
    ];
    return `${cpu}, ${cores} cores, ${(memoryBytes / 2 ** 30).toFixed(0)} GiB, ${platform}, Node ${node}; commit ${commits.join(", ")}.`;
  },
  smollm2: ({ real, ...parts }) =>
    [contest(real), contest(parts["smollm2-135m"])].filter(Boolean).join("\n\n") || none(),
  embeddings: (parts) => contest(parts.embeddings) ?? none(),
  "llama-1b": (parts) => contest(parts["llama-1b"]) ?? none(),
  "llama-7b": (parts) => {
    const rows = Object.entries(parts)
      .filter(([id]) => id.startsWith("llama-7b-"))
      .flatMap(([, { result }]) => result.rows.map((row) => ({ row, result })));
    /** File and KV cache (of 16 bits unless told) and 15 percent more, and Node itself. */
    const limit = ({ row, result }) =>
      1.15 * (row.fileBytes + (result.cacheBytes16 * (result.runtime?.kvBits ?? 16)) / 16) + 60e6;
    if (rows.length === 0) return none();
    const lengths = Object.keys(rows[0].row.decode);
    const prompts = Object.keys(rows[0].row.prefill);
    return table(
      [
        "model",
        "threads",
        ...lengths.map((n) => `decode @${n}`),
        ...prompts.map((n) => `prefill ${n}`),
        "load ms",
        "file MB",
        "(file + KV) x 1.15 + 60 MB",
        "RSS MB",
        "peak MB",
      ],
      rows.map(({ row, result }) => [
        row.file,
        threadsOf(row),
        ...lengths.map((n) => figure(row.decode[n])),
        ...prompts.map((n) => figure(row.prefill[n])),
        row.loadMs.toFixed(0),
        ...[row.fileBytes, limit({ row, result }), row.rssBytes, row.peakRssBytes].map(megabytes),
      ]),
    );
  },
  profile: (parts) => {
    const profiles = Object.entries(parts).filter(([id]) => id.startsWith("profile-"));
    if (profiles.length === 0) return none();
    return profiles.map(([, { result }]) => profileTable(result)).join("\n\n");
  },
  kernels: ({ kernels }) => {
    if (kernels === undefined) return none();
    const { bounds, rows } = kernels.result.kernels;
    const percent = (share) => (share === undefined ? "" : `${Math.round(100 * share)} %`);
    return table(
      ["kernel", "threads", "Gmac/s", "weights GB/s", "of arithmetic", "of loads"],
      [
        ...bounds.flatMap(({ threads, arithmetic, loads }) => [
          ["bound: vector arithmetic alone", threads, best(arithmetic), "", "", ""],
          ["bound: with its loads, all near", threads, best(loads), "", "", ""],
        ]),
        ...rows.map((row) => [
          row.name,
          row.threads,
          best(row.gmacs),
          best(row.gigabytes),
          percent(row.shareOfArithmetic),
          percent(row.shareOfLoads),
        ]),
      ],
    );
  },
  cycles: ({ cycles }) => {
    if (cycles === undefined) return none();
    const { cycles: count, beginBytes, endBytes, growthBytes } = cycles.result;
    const exact = (bytes) => (bytes / 1e6).toFixed(1);
    return `${count} cycles of load, generate and dispose in one process: RSS ${exact(beginBytes)} MB after the first quarter, ${exact(endBytes)} MB at the end, growth ${exact(growthBytes)} MB.`;
  },
  idle: (parts) => {
    const rows = Object.values(parts).flatMap(({ result }) => result.rows ?? []);
    const ours = rows.filter(
      ({ engine, idleCpuPercent }) => engine === "subbit" && idleCpuPercent !== undefined,
    );
    if (ours.length === 0) return none();
    const most = Math.max(...ours.map(({ idleCpuPercent }) => idleCpuPercent));
    return `Processor time of a loaded model that nothing is asked of, one second after its last answer, over ${ours.length} processes: at most ${most.toFixed(1)} % of one core.`;
  },
  linear: ({ linear }) => {
    if (linear === undefined) return none();
    const { measured, ratios } = linear.result;
    const names = [...new Set(ratios.map(({ name }) => name))];
    const counts = [...new Set(ratios.map(({ threads }) => threads))];
    const rivals = [...new Set(ratios.map(({ against }) => against))];
    const find = (list, wanted) =>
      list.find((row) => Object.entries(wanted).every(([key, value]) => row[key] === value));
    return [
      table(
        ["", ...counts.flatMap((threads) => rivals.map((rival) => `over ${rival}, ${plural(threads)}`))],
        names.map((name) => [
          name,
          ...counts.flatMap((threads) =>
            rivals.map((against) => figure(find(ratios, { name, against, threads }).times)),
          ),
        ]),
      ),
      table(
        ["", "weights MB", ...counts.map((threads) => `ms, ${plural(threads)}`)],
        [...names, ...rivals].map((name) => [
          name,
          (find(measured, { name }).weightBytes / 1e6).toFixed(1),
          ...counts.map((threads) => figure(find(measured, { name, threads }).milliseconds)),
        ]),
      ),
    ].join("\n\n");
  },
};

/** Ratios first, then what they are made of. */
function contest(part) {
  if (part === undefined) return undefined;
  const { rows, ratios } = part.result;
  const lengths = Object.keys(rows[0].decode);
  const prompts = Object.keys(rows[0].prefill);
  const columns = [...lengths.map((n) => `decode @${n}`), ...prompts.map((n) => `prefill ${n}`)];
  const figures = (row) => [
    ...lengths.map((n) => figure(row.decode[n])),
    ...prompts.map((n) => figure(row.prefill[n])),
  ];
  const absolute = table(
    ["file", "engine", "threads", ...columns, "load ms", "file MB", "RSS MB", "others"],
    rows.map((row) => [
      row.file,
      row.engine,
      threadsOf(row),
      ...figures(row),
      row.loadMs.toFixed(0),
      megabytes(row.fileBytes),
      megabytes(row.rssBytes),
      row.othersCores === undefined ? "" : row.othersCores.median.toFixed(1),
    ]),
  );
  if (ratios.length === 0) return absolute;
  const times = table(
    [`${rows[0].file} is so many times as fast as`, "threads", ...columns],
    ratios.map((ratio) => [ratio.against, ratio.threads, ...figures(ratio)]),
  );
  return `${times}\n\n${absolute}`;
}

function profileTable({ name, profile: { rows, microseconds, context, bound } }) {
  const rate = (amount, us) => (amount === 0 ? "" : digits(amount / us / 1000));
  return table(
    [`${name}, a token after ${context}`, "times", "us", "%", "Gsigns/s", "of bound", "weights GB/s"],
    [
      ...rows.map(({ instruction, count, microseconds: us, signs, bytes }) => [
        instruction,
        count,
        us.toFixed(1),
        ((100 * us) / microseconds).toFixed(1),
        rate(signs, us),
        signs === 0 ? "" : `${((100 * signs) / us / 1000 / bound).toFixed(0)} %`,
        rate(bytes, us),
      ]),
      ["all", "", microseconds.toFixed(1), "100", "", "", ""],
      ["bound: vector arithmetic alone", "", "", "", digits(bound), "", ""],
    ],
  );
}

const table = (head, body) =>
  [head, head.map(() => "---"), ...body].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
const threadsOf = ({ threads, auto }) => (auto ? `auto (${threads})` : threads);
const plural = (threads) => (threads === 1 ? "1 thread" : `${threads} threads`);
const megabytes = (bytes) => (bytes / 1e6).toFixed(0);
const figure = ({ median, min, max }) => `${digits(median)} (${digits(min)}-${digits(max)})`;
const best = (pair) => `${digits(pair.median)} (${digits(pair.best)})`;
const none = () => "Not measured yet.";

/** Three significant digits without an exponent. */
function digits(value) {
  const whole = value === 0 ? 1 : Math.floor(Math.log10(Math.abs(value))) + 1;
  return value.toFixed(Math.max(0, Math.min(4, 3 - whole)));
}

function unknown(name) {
  throw new Error(`docs/performance.md asks for the table ${name}, which bench/tables.mjs does not make.`);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const check = process.argv.includes("--check");
  if (!(await writeTables({ check })) && check) {
    process.stderr.write(
      "docs/performance.md does not show what bench/results/speed.json says; run node bench/tables.mjs.\n",
    );
    process.exitCode = 1;
  }
}
