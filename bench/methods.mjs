// Every method at several sizes of one model, after its initialisation and after block tuning:
//
//   node bench/methods.mjs SOURCE --json FILE [--title TEXT] [--methods auto,dbf,littlebit:itq,mdbf:admm:envelope=2,...]
//        [--bpw 1.0,0.8,0.55,0.3] [-- more arguments of compress]
//
// A method may be followed by its start and by options of compress. Each run is the command that users type; rows are
// appended to FILE as they come, and those that stand there already are not run again. `node bench/comparison.mjs`
// turns such files into docs/comparison.md.
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { figuresOf, subbit } from "./subbit.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    methods: {
      type: "string",
      default: "auto,nanoquant,dbf,littlebit,littlebit:itq,littlebit:admm,mdbf,onebit",
    },
    bpw: { type: "string", default: "1.0,0.8,0.55,0.3" },
    json: { type: "string" },
    title: { type: "string" },
  },
});
const [source, ...more] = positionals;
if (source === undefined || values.json === undefined) {
  throw new Error("Which model, and where to? node bench/methods.mjs SOURCE --json FILE ...");
}
const title = values.title ?? source;
const known = existsSync(values.json)
  ? readFileSync(values.json, "utf8")
      .trim()
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line))
  : [];

for (const label of values.methods.split(",")) {
  const [method, ...parts] = label.split(":");
  const options = parts.flatMap((part) => {
    const [name, value] = part.split("=");
    return value === undefined ? ["--init", name] : [`--${name}`, value];
  });
  // OneBit costs what it costs.
  const sizes = method === "onebit" ? [undefined] : values.bpw.split(",");
  for (const bpw of sizes) {
    const asked = bpw === undefined ? null : Number(bpw);
    if (known.some((row) => row.title === title && row.label === label && row.asked === asked)) continue;
    const scratch = mkdtempSync(join(tmpdir(), "subbit-methods-"));
    try {
      const size = bpw === undefined ? [] : ["--bpw", bpw];
      const tune = more.includes("--tune") ? [] : ["--tune", "blocks", "--report-init"];
      const args = [
        "compress",
        source,
        join(scratch, "out"),
        "--method",
        method,
        ...options,
        ...size,
        ...tune,
        ...more,
      ];
      const result = subbit(args);
      // A size below what a form can have ends in a sentence; the others go on.
      if (result === undefined) continue;
      const row = {
        title,
        label,
        asked,
        arguments: more,
        paths: result.paths,
        envelope: result.envelope,
        scaleBits: result.scaleBits,
        ...figuresOf(result),
      };
      console.log(JSON.stringify(row));
      appendFileSync(values.json, `${JSON.stringify(row)}\n`);
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }
}
