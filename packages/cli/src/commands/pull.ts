/** `subbit pull`: a remote model into the cache, or into a folder. */
import { SubbitError } from "@subbit/core";
import { isRemoteSource, pullToCache, pullToFolder, type Pulled } from "@subbit/hub";
import type { Command } from "commander";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { commandOf, examples, overwriteOption, type OverwriteOptions } from "../options/common.js";
import { formatBytes } from "../output/format.js";
import { renderPairs, renderTable } from "../output/table.js";
import { remoteAccess } from "../remote-source.js";

interface PullCommandOptions extends CommonOptions, OverwriteOptions {
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly verify?: boolean;
}

export function addPull(program: Command): void {
  commandOf(program, "pull <source> [dir]", "download a model into the cache, or into a folder")
    .option("--include <globs...>", "take the files with these names (default: what the model needs)")
    .option("--exclude <globs...>", "leave the files with these names out")
    .option("--verify", "hash again what the cache has, and fetch again what is damaged")
    .addOption(overwriteOption())
    .addHelpText(
      "after",
      examples(
        "subbit pull hf:HuggingFaceTB/SmolLM2-135M",
        "subbit pull hf:HuggingFaceTB/SmolLM2-135M@main smollm2",
        "subbit pull hf:org/name-GGUF/name-Q8_0.gguf",
        'subbit pull hf:org/name tokenizer --include "tokenizer*" --exclude "*.model"',
        "subbit pull https://example.org/models/packed",
      ) +
        "\nStopped, it goes on where it was. HF_TOKEN opens private and gated models, HF_ENDPOINT names another Hub,\n" +
        "HF_HUB_OFFLINE=1 keeps to the cache, which lies in SUBBIT_CACHE, else where Hugging Face's tools keep theirs.\n",
    )
    .action((source: string, dir: string | undefined, options: PullCommandOptions) =>
      execute(options, (context) => pull(context, source, dir, options)),
    );
}

async function pull(
  context: Context,
  source: string,
  dir: string | undefined,
  options: PullCommandOptions,
): Promise<CommandResult> {
  if (!isRemoteSource(source)) {
    throw new SubbitError(
      "usage",
      `${source} is no remote source; give hf:org/name or the https:// address of a folder.`,
    );
  }
  const { include, exclude, verify = false, overwrite = false } = options;
  if (dir === undefined && overwrite)
    throw new SubbitError("usage", "--overwrite is for a folder; give one, or leave it out.");
  if (dir !== undefined && verify)
    throw new SubbitError("usage", "--verify is for the cache; leave it or the folder out.");
  const { hub, remote } = remoteAccess(context, source);
  const shared = {
    ...(include && { include }),
    ...(exclude && { exclude }),
    onProgress: context.onProgress,
    onWarning: (sentence: string) => context.warn(sentence),
  };
  const pulled =
    dir === undefined
      ? await pullToCache(hub, remote, { ...shared, verify })
      : await pullToFolder(hub, remote, dir, { ...shared, overwrite });
  const { path, files, revision, downloadedBytes } = pulled;
  return { json: { path, files, revision, downloadedBytes }, text: describe(pulled) };
}

function describe({ path, files, revision, downloadedBytes }: Pulled): string {
  const table = renderTable(
    [{ title: "file" }, { title: "bytes", align: "right" }, { title: "sha256" }],
    files.map(({ name, bytes, sha256 }) => [name, formatBytes(bytes), sha256.slice(0, 16)]),
  );
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  return `${table}\n\n${renderPairs([
    ["path", path],
    ["revision", revision],
    ["size", formatBytes(total)],
    ["downloaded now", formatBytes(downloadedBytes)],
  ])}`;
}
