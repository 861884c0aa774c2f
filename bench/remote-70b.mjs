/**
 * A remote checkpoint of the shape of Llama 3 70B (141 GB in 30 shards), served by this machine with generated contents: what
 * `inspect`, `compress --dry-run` and reading on through a shard take in time, memory and bytes over the network.
 *
 *   node bench/remote-70b.mjs [--json]
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startModelServer } from "../test/support/model-server.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const LAUNCHER = join(ROOT, "packages/cli/bin/subbit.js");
const REPO = "bench/llama-70b";
const SHARDS = 30;
const STREAMED_BYTES = 512 * 2 ** 20;

const config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 8192,
  intermediate_size: 28672,
  num_hidden_layers: 80,
  num_attention_heads: 64,
  num_key_value_heads: 8,
  vocab_size: 128256,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  hidden_act: "silu",
  tie_word_embeddings: false,
  torch_dtype: "bfloat16",
};

function tensorShapes({
  hidden_size: d,
  intermediate_size: f,
  num_hidden_layers: layers,
  vocab_size: vocab,
}) {
  const kv = (d / config.num_attention_heads) * config.num_key_value_heads;
  const block = {
    input_layernorm: [d],
    "self_attn.q_proj": [d, d],
    "self_attn.k_proj": [kv, d],
    "self_attn.v_proj": [kv, d],
    "self_attn.o_proj": [d, d],
    post_attention_layernorm: [d],
    "mlp.gate_proj": [f, d],
    "mlp.up_proj": [f, d],
    "mlp.down_proj": [d, f],
  };
  const shapes = [["model.embed_tokens.weight", [vocab, d]]];
  for (let layer = 0; layer < layers; layer++) {
    for (const [name, shape] of Object.entries(block))
      shapes.push([`model.layers.${layer}.${name}.weight`, shape]);
  }
  return [...shapes, ["model.norm.weight", [d]], ["lm_head.weight", [vocab, d]]];
}

/** Small bf16 numbers over and over; a prime length, so that no two rows begin alike. */
const pattern = Buffer.alloc(2 * 524_287);
for (let i = 0; i < pattern.length; i += 2)
  pattern.writeUInt16LE(0x3c00 + ((i * 7919) % 127) + (i % 3 === 0 ? 0x8000 : 0), i);

function shardOf(tensors) {
  const header = {};
  let end = 0;
  for (const [name, shape] of tensors) {
    const bytes = 2 * shape.reduce((a, b) => a * b, 1);
    header[name] = { dtype: "BF16", shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  const json = Buffer.from(JSON.stringify(header));
  const head = Buffer.alloc(8 + json.length);
  head.writeBigUInt64LE(BigInt(json.length));
  json.copy(head, 8);
  const at = (offset, length) => {
    const out = Buffer.allocUnsafe(length);
    for (let done = 0; done < length;) {
      const position = offset + done;
      const source = position < head.length ? head : pattern;
      const begin = position < head.length ? position : (position - head.length) % pattern.length;
      done += source.copy(out, done, begin, begin + length - done);
    }
    return out;
  };
  return { bytes: head.length + end, at, sha256: "5".repeat(64) };
}

function checkpoint() {
  const shapes = tensorShapes(config);
  const weightMap = {};
  const files = { "config.json": Buffer.from(JSON.stringify(config)) };
  for (let i = 0; i < SHARDS; i++) {
    const part = shapes.slice(
      Math.floor((i * shapes.length) / SHARDS),
      Math.floor(((i + 1) * shapes.length) / SHARDS),
    );
    const name = `model-${String(i + 1).padStart(5, "0")}-of-${String(SHARDS).padStart(5, "0")}.safetensors`;
    files[name] = shardOf(part);
    // The hash names the file in listings: two files need two.
    files[name].sha256 = String(10 + i).repeat(32);
    for (const [tensor] of part) weightMap[tensor] = name;
  }
  files["model.safetensors.index.json"] = Buffer.from(JSON.stringify({ weight_map: weightMap }));
  return files;
}

/** Reads a shard on and on as a compression does, and says how much of it came. */
const STREAM = `
import { createHub, openRemote, parseRemoteSource } from "@subbit/hub";
const hub = createHub();
const { checkpoint } = await openRemote(hub, parseRemoteSource("hf:${REPO}", hub.settings));
const [info] = checkpoint.tensors.values();
const piece = new Uint8Array(8 * 2 ** 20);
for (let at = 0; at < ${STREAMED_BYTES}; at += piece.length) await checkpoint.readFile(info.file, info.offset + at, piece);
`;

/** Seconds and peak memory of a process, by its own account at its end. */
function run(args, environment) {
  return new Promise((resolve, reject) => {
    const report = join(folder, `rss-${Math.random().toString(36).slice(2)}`);
    const hook = `data:text/javascript,import{writeFileSync}from"node:fs";process.on("exit",()=>writeFileSync(${JSON.stringify(report)},String(process.resourceUsage().maxRSS*1024)))`;
    const started = performance.now();
    const child = spawn(process.execPath, ["--import", hook, ...args], {
      cwd: join(ROOT, "packages/cli"),
      env: { ...process.env, ...environment },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let out = "";
    child.stdout.on("data", (text) => (out += text));
    child.on("close", (code) => {
      if (code !== 0)
        return reject(new Error(`${args.join(" ").slice(0, 200)} ended with ${code}: ${out.slice(0, 300)}`));
      const seconds = (performance.now() - started) / 1000;
      resolve({ out, seconds, rssBytes: Number(readFileSync(report, "utf8")) });
    });
  });
}

const folder = mkdtempSync(join(tmpdir(), "subbit-remote-"));
const files = checkpoint();
const server = await startModelServer({ repos: { [REPO]: files }, folders: { "models/llama": files } });
const rows = [];
try {
  const environment = { HF_ENDPOINT: server.url, SUBBIT_CACHE: join(folder, "cache") };
  const cases = [
    ["an empty process", ["--eval", "0"]],
    ["inspect hf:", [LAUNCHER, "inspect", `hf:${REPO}`, "--json"]],
    ["inspect http:", [LAUNCHER, "inspect", `${server.url}/plain/models/llama`, "--json"]],
    [
      "compress hf: --dry-run",
      [
        LAUNCHER,
        "compress",
        `hf:${REPO}`,
        "never",
        "--bpw",
        "0.55",
        "--allocate",
        "uniform",
        "--dry-run",
        "--json",
      ],
    ],
    [`read ${STREAMED_BYTES / 2 ** 20} MiB in order`, ["--input-type=module", "--eval", STREAM]],
  ];
  for (const [name, args] of cases) {
    const [requests, sent] = [server.requests.length, server.bytesSent];
    const { seconds, rssBytes } = await run(args, environment);
    rows.push({
      name,
      seconds,
      rssBytes,
      requests: server.requests.length - requests,
      bytes: server.bytesSent - sent,
    });
  }
} finally {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
}

const total = Object.values(files).reduce((sum, file) => sum + (file.bytes ?? file.length), 0);
if (process.argv.includes("--json")) console.log(JSON.stringify({ checkpointBytes: total, rows }, null, 2));
else {
  console.log(`A checkpoint of ${(total / 1e9).toFixed(1)} GB in ${SHARDS} shards, on this machine:\n`);
  console.log("| what | seconds | peak RSS, MB | requests | MB received |\n| --- | --: | --: | --: | --: |");
  for (const { name, seconds, rssBytes, requests, bytes } of rows) {
    console.log(
      `| ${name} | ${seconds.toFixed(1)} | ${(rssBytes / 1e6).toFixed(0)} | ${requests} | ${(bytes / 1e6).toFixed(1)} |`,
    );
  }
}
