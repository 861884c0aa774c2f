/** `subbit cache`: what was downloaded, and removing it. */
import { SubbitError } from "@subbit/core";
import { clearCache, createHub, isRemoteSource, listCache, type CacheEntry } from "@subbit/hub";
import type { Command } from "commander";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { commandOf, examples } from "../options/common.js";
import { formatBytes } from "../output/format.js";
import { renderTable } from "../output/table.js";

interface CacheOptions extends CommonOptions {
  readonly all?: boolean;
}

export function addCache(program: Command): void {
  commandOf(program, "cache <action> [sources...]", "list what was downloaded, or clear it")
    .option("--all", "with clear: everything that subbit downloaded")
    .addHelpText(
      "after",
      examples(
        "subbit cache list",
        "subbit cache clear hf:HuggingFaceTB/SmolLM2-135M",
        "subbit cache clear --all",
      ) +
        "\nThe cache is shared with Hugging Face's own tools unless SUBBIT_CACHE is set; --all leaves what they put there.\n",
    )
    .action((action: string, sources: string[], options: CacheOptions) =>
      execute(options, (context) => cache(context, action, sources, options)),
    );
}

async function cache(
  context: Context,
  action: string,
  sources: readonly string[],
  options: CacheOptions,
): Promise<CommandResult> {
  const hub = createHub({ signal: context.signal });
  const { hubCache, urlCache } = hub.settings;
  if (action === "list") {
    if (sources.length > 0 || options.all === true)
      throw new SubbitError("usage", "cache list takes nothing else.");
    const models = await listCache(hub);
    const text = models.length === 0 ? `Nothing is cached in ${hubCache} or ${urlCache}.` : describe(models);
    return { json: { folders: [hubCache, urlCache], bytes: sum(models), models }, text };
  }
  if (action !== "clear")
    throw new SubbitError("usage", `cache ${action} was asked for; give list or clear.`);
  if ((sources.length === 0) === (options.all !== true)) {
    throw new SubbitError("usage", "cache clear takes the sources to remove, or --all; give one of the two.");
  }
  const local = sources.find((source) => !isRemoteSource(source));
  if (local !== undefined)
    throw new SubbitError("usage", `${local} is no remote source; cache list shows their names.`);
  const removed = await clearCache(hub, { names: sources, all: options.all === true });
  return {
    json: { removed, bytes: sum(removed) },
    text: `Removed ${removed.length} ${removed.length === 1 ? "model" : "models"}, ${formatBytes(sum(removed))}.`,
  };
}

function describe(models: readonly CacheEntry[]): string {
  const rows = models.map(({ name, bytes, revisions, own, partial }) => [
    name,
    formatBytes(bytes),
    String(revisions.length),
    own ? "subbit" : "another tool",
    partial ? "a download is unfinished" : "",
  ]);
  const columns = [
    { title: "model" },
    { title: "bytes", align: "right" as const },
    { title: "revisions", align: "right" as const },
    { title: "from" },
    { title: "" },
  ];
  return `${renderTable(columns, rows)}\n\n${formatBytes(sum(models))} in all`;
}

function sum(models: readonly CacheEntry[]): number {
  return models.reduce((total, { bytes }) => total + bytes, 0);
}
