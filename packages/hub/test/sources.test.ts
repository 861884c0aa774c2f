/** Names of sources, and which files of a repository a model needs. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { hubSettings, parseRemoteSource } from "../src/index.js";
import { chooseFiles } from "../src/listing/choose.js";
import { chooseOf, listSource } from "../src/listing/list.js";
import type { RemoteFile } from "../src/listing/types.js";
import { hubFor, serve, temporaryFolder } from "./support.js";

const endpoint = "https://hub.example";

describe("names", () => {
  const parse = (source: string) => parseRemoteSource(source, { endpoint });

  it("say repository, revision and file", () => {
    expect(parse("hf:org/name")).toMatchObject({ kind: "hub", repo: "org/name", revision: "main" });
    expect(parse("hf:org/name@refs/pr/1")).toMatchObject({ repo: "org/name", revision: "refs/pr/1" });
    expect(parse("hf:org/n.a-me_2/x-Q8_0.gguf@v1")).toMatchObject({ revision: "v1", file: "x-Q8_0.gguf" });
    expect(parse(`${endpoint}/org/name`)).toMatchObject({ kind: "hub", repo: "org/name", revision: "main" });
    expect(parse(`${endpoint}/org/name/tree/v1`)).toMatchObject({ kind: "hub", revision: "v1" });
    expect(parse("https://host/a/b?key=1")).toMatchObject({
      kind: "url",
      folder: new URL("https://host/a/b/?key=1"),
    });
    expect(parse("https://host/a/x.gguf")).toMatchObject({
      folder: new URL("https://host/a/"),
      file: "x.gguf",
    });
  });

  it.each([
    "hf:",
    "hf:name",
    "hf:../name",
    "hf:org/..",
    "hf:org/name/../x.gguf",
    "hf:org/name@../../x",
    "hf:org/name@",
    "hf:a/b/c/d.gguf",
    "hf:org/na me",
    "https://",
    "https://user:secret@host/model",
    "https://host/a%2F..%2Fx.gguf",
  ])("%s is refused", (source) => {
    expect(() => parse(source)).toThrow(expect.objectContaining({ code: "input" }));
    expect(() => parse(source)).not.toThrow(/secret/);
  });
});

describe("settings", () => {
  it("follow the variables of Hugging Face's tools, and our own first", () => {
    expect(hubSettings({ HF_HOME: "/h", HF_ENDPOINT: "https://mirror.example/" })).toMatchObject({
      endpoint: "https://mirror.example",
      hubCache: join("/h", "hub"),
      offline: false,
    });
    expect(hubSettings({ HF_HOME: "/h", SUBBIT_CACHE: "/s", HF_HUB_OFFLINE: "1" })).toMatchObject({
      hubCache: join("/s", "hub"),
      urlCache: join("/s", "urls"),
      offline: true,
    });
    expect(() => hubSettings({ HF_TOKEN: "a\nb" })).toThrow(expect.objectContaining({ code: "usage" }));
    expect(() => hubSettings({ HF_ENDPOINT: "ftp://x" })).toThrow(/HF_ENDPOINT/);
    expect(() => hubSettings({ HF_HUB_DOWNLOAD_TIMEOUT: "-1" })).toThrow(/HF_HUB_DOWNLOAD_TIMEOUT/);
  });
});

describe("the files that a model needs", () => {
  const index = JSON.stringify({ weight_map: { a: "model-1.safetensors", b: "model-2.safetensors" } });
  const choose = async (names: string[], options = {}): Promise<string[]> => {
    const files = names.map((file): RemoteFile => ({ file, name: file, url: "", bytes: 1, id: file }));
    const chosen = await chooseFiles({ name: "hf:org/name", revision: "", files }, options, () =>
      Promise.resolve(index),
    );
    return chosen.map(({ file }) => file).sort();
  };
  const side = ["config.json", "tokenizer.json"];

  it("are configuration, tokenizer and one form of the weights", async () => {
    const all = [
      ...side,
      "README.md",
      "pytorch_model.bin",
      "tf_model.h5",
      "consolidated.safetensors",
      "original.pth",
    ];
    expect(await choose([...all, "model.safetensors"])).toEqual([
      ...side.slice(0, 1),
      "model.safetensors",
      side[1],
    ]);
    const sharded = ["model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"];
    expect(await choose([...all, ...sharded, "model-3.safetensors"])).toEqual([...side, ...sharded].sort());
    expect(await choose([...side, "model.Q4_0.gguf"])).toEqual(["model.Q4_0.gguf"]);
    expect(await choose([...side, "pytorch_model.bin"])).toEqual([...side, "pytorch_model.bin"].sort());
  });

  it("are what globs and a named file say", async () => {
    const all = [...side, "model.safetensors", "pytorch_model.bin"];
    expect(await choose(all, { include: ["*.bin", "config*"] })).toEqual([
      "config.json",
      "pytorch_model.bin",
    ]);
    expect(await choose(all, { exclude: ["tokenizer*"] })).toEqual(["config.json", "model.safetensors"]);
    expect(await choose(["a.gguf", "b.gguf"], { file: "b.gguf" })).toEqual(["b.gguf"]);
  });

  it("cannot be told of several GGUF files, of none, or of a shard that is missing", async () => {
    await expect(choose(["a.gguf", "b.gguf"])).rejects.toThrow(/hf:org\/name\/a\.gguf/);
    await expect(choose(["README.md"])).rejects.toThrow(/no weights/);
    await expect(choose([...side, "model.safetensors.index.json", "model-1.safetensors"])).rejects.toThrow(
      /model-2/,
    );
    await expect(choose(side, { include: ["*.bin"] })).rejects.toThrow(/--include/);
    await expect(choose(side, { file: "x.gguf" })).rejects.toThrow(/x\.gguf/);
  });
});

describe("listings", () => {
  const folder = temporaryFolder();
  const files = Object.fromEntries(
    ["config.json", "model.safetensors", "tokenizer.json", "vocab.json"].map((name) => [
      name,
      Buffer.from(name),
    ]),
  );

  it("are read page by page, with hashes, and the token goes to the Hub alone", async () => {
    const server = await serve({ repos: { "org/name": files }, token: "hf_x" });
    const hub = hubFor(server, folder, { settings: { token: "hf_x" } });
    const source = parseRemoteSource("hf:org/name", hub.settings);
    const listing = await listSource(hub, source);
    expect((await chooseOf(hub, listing, source)).map(({ file }) => file)).toEqual(Object.keys(files).sort());
    expect(listing.files.every(({ promised }) => promised?.algorithm === "git-sha1")).toBe(true);

    const other = await serve({ folders: { "some/where/model": files } });
    const elsewhere = parseRemoteSource(`${other.url}/plain/some/where/model`, hub.settings);
    expect((await listSource(hub, elsewhere)).files.map(({ file }) => file)).toEqual(
      Object.keys(files).sort(),
    );
    expect(server.requests.every(({ authorization }) => authorization === "Bearer hf_x")).toBe(true);
    expect(other.requests.every(({ authorization }) => authorization === undefined)).toBe(true);
  });

  it("of what is not there or not open end in a sentence", async () => {
    const server = await serve({ repos: { "org/name": files }, token: "hf_x" });
    const list = (source: string, token?: string) => {
      const hub = hubFor(server, folder, token === undefined ? {} : { settings: { token } });
      return listSource(hub, parseRemoteSource(source, hub.settings));
    };
    await expect(list("hf:org/nothing", "hf_x")).rejects.toThrow(/hf:org\/nothing does not exist/);
    await expect(list("hf:org/name@v9", "hf_x")).rejects.toThrow(/does not exist/);
    await expect(list("hf:org/name")).rejects.toThrow(/HF_TOKEN/);
    await expect(list(`${server.url}/plain/some/where/else`)).rejects.toThrow(/config\.json/);
  });
});
