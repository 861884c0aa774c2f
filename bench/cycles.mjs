// Whether memory grows when models come and go: load, generate, dispose, again and again in one process.
//
//   node --expose-gc bench/cycles.mjs [FOLDER] [--cycles 200] [--threads 2] [--json FILE]
//
// RSS is read after each cycle with the garbage collected. The first quarter, in which engine and allocator settle, is left out;
// growth is the median of the last tenth less the median of the tenth that follows that quarter. Needs `npm run build`.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { spreadOf } from "../packages/cli/dist/bench/statistics.js";
import { load } from "../packages/runtime/dist/index.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    cycles: { type: "string", default: "200" },
    threads: { type: "string", default: "2" },
    json: { type: "string" },
  },
});
const [source = join(import.meta.dirname, "../models/stories-11m-0.8bpw")] = positionals;
if (globalThis.gc === undefined) throw new Error("Start it with node --expose-gc.");
const cycles = Number(values.cycles);
const rss = [];
for (let cycle = 0; cycle < cycles; cycle++) {
  const model = await load(source, { threads: Number(values.threads) });
  await model.complete("Once upon a time", { maxTokens: 8, temperature: 0 });
  await model.dispose();
  globalThis.gc();
  rss.push(process.memoryUsage.rss());
  if (cycle % 20 === 19)
    process.stderr.write(`${cycle + 1}/${cycles} cycles, ${(rss.at(-1) / 1e6).toFixed(1)} MB\n`);
}
const tenth = Math.max(1, Math.floor(cycles / 10));
const quarter = Math.floor(cycles / 4);
const beginBytes = spreadOf(rss.slice(quarter, quarter + tenth)).median;
const endBytes = spreadOf(rss.slice(-tenth)).median;
const result = { cycles, beginBytes, endBytes, growthBytes: endBytes - beginBytes, rss };
process.stdout.write(
  `${cycles} cycles: ${(beginBytes / 1e6).toFixed(1)} MB, then ${(endBytes / 1e6).toFixed(1)} MB, ` +
    `growth ${(result.growthBytes / 1e6).toFixed(1)} MB\n`,
);
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result)}\n`);
process.exit(0);
