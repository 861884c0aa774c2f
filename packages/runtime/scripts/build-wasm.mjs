// Compiles the AssemblyScript kernels four times (relaxed SIMD or not, shared memory with threads or not) and writes their
// bytes as one TypeScript module, so that neither Node nor a bundler has to find a file at run time.
import { createHash } from "node:crypto";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const output = join(root, "src/generated/kernels.ts");
const asc = join(
  dirname(createRequire(import.meta.url).resolve("assemblyscript/package.json")),
  "bin/asc.js",
);

const builds = [
  { name: "baselineShared", relaxed: false, shared: true },
  { name: "relaxedShared", relaxed: true, shared: true },
  { name: "baselineLocal", relaxed: false, shared: false },
  { name: "relaxedLocal", relaxed: true, shared: false },
];

/** Hash of everything the bytes depend on, so that an unchanged tree is not compiled again. */
async function sourceHash() {
  const hash = createHash("sha256");
  const assembly = join(root, "assembly");
  const files = (await readdir(assembly)).filter((name) => name.endsWith(".ts")).sort();
  const paths = [
    ...files.map((name) => join(assembly, name)),
    join(root, "src/abi.ts"),
    fileURLToPath(import.meta.url),
  ];
  for (const path of paths) hash.update(await readFile(path));
  return hash.digest("hex");
}

async function compile(build, folder) {
  const wasm = join(folder, `${build.name}.wasm`);
  const features = ["--enable", "simd"];
  if (build.relaxed) features.push("--enable", "relaxed-simd");
  if (build.shared) features.push("--enable", "threads", "--sharedMemory");
  await run(
    process.execPath,
    [
      asc,
      "assembly/index.ts",
      "--outFile",
      wasm,
      "-O3",
      "--noAssert",
      "--runtime",
      "stub",
      "--use",
      "abort=",
      "--importMemory",
      "--noExportMemory",
      "--initialMemory",
      "1",
      "--maximumMemory",
      "65536",
      ...features,
    ],
    { cwd: root },
  );
  return readFile(wasm);
}

/** The compiler's own words are enough. */
process.on("uncaughtException", (error) => {
  process.stderr.write(`${error.stderr ?? error.stack}\n`);
  process.exit(1);
});

const hash = await sourceHash();
const stamp = `// source ${hash}`;
const current = await readFile(output, "utf8").catch(() => "");
if (!current.includes(stamp)) {
  const folder = await mkdtemp(join(tmpdir(), "subbit-wasm-"));
  try {
    const modules = await Promise.all(builds.map((build) => compile(build, folder)));
    const lines = builds.map(
      (build, i) =>
        `/** ${modules[i].length} bytes */\nexport const ${build.name} =\n  "${modules[i].toString("base64")}";\n`,
    );
    await mkdir(dirname(output), { recursive: true });
    // Beside, then renamed: a build that reads it meanwhile, or a copy that is linked to it, keeps what it had.
    await writeFile(
      `${output}.new`,
      `// Written by scripts/build-wasm.mjs from assembly/; do not edit.\n${stamp}\n\n/** Tells one build of the kernels from another. */\nexport const kernelsHash = "${hash.slice(0, 16)}";\n\n${lines.join("\n")}`,
    );
    await rename(`${output}.new`, output);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
