// Perplexity, bytes and seconds after every stage of `subbit compress`, for several sizes of one model:
//
//   node bench/stages.mjs SOURCE --bpw 1.0,0.55 --tune none,scales,full --calibration FILE --eval-text FILE \
//        [--json FILE] [--title TEXT] [-- more arguments of compress]
//
// Each run is the command that users type, with its own ledger, so that seconds are those of a whole run.
// Rows are appended to --json as they come; `node bench/results.mjs` turns such files into docs/results.md.
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { figuresOf, subbit } from "./subbit.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    bpw: { type: "string", default: "1.0,0.8,0.55,0.3" },
    tune: { type: "string", default: "full" },
    calibration: { type: "string" },
    "eval-text": { type: "string" },
    json: { type: "string" },
    title: { type: "string" },
  },
});
const [source, ...more] = positionals;
if (source === undefined) throw new Error("Which model? node bench/stages.mjs SOURCE ...");

const scratch = mkdtempSync(join(tmpdir(), "subbit-stages-"));
try {
  for (const tune of values.tune.split(",")) {
    for (const bpw of values.bpw.split(",")) {
      const out = join(scratch, `${tune}-${bpw}`);
      const args = ["compress", source, out, "--bpw", bpw, "--tune", tune, ...more];
      for (const name of ["calibration", "eval-text"]) if (values[name]) args.push(`--${name}`, values[name]);
      const result = subbit(args);
      if (result === undefined) throw new Error(`${tune} at ${bpw} bits failed`);
      const row = {
        title: values.title ?? source,
        asked: Number(bpw),
        tune,
        arguments: more,
        ...figuresOf(result),
      };
      console.log(JSON.stringify(row));
      if (values.json) appendFileSync(values.json, `${JSON.stringify(row)}\n`);
      rmSync(out, { recursive: true, force: true });
    }
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
