/** `subbit push`: a model folder to the Hugging Face Hub. */
import { inspectModel, SubbitError, type Model, type ModelReport } from "@subbit/core";
import { pushFolder } from "@subbit/hub";
import type { Command } from "commander";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { withModel } from "../open-source.js";
import { commandOf, examples } from "../options/common.js";
import { nonEmpty } from "../options/parse.js";
import { formatBytes, formatCount } from "../output/format.js";
import { renderPairs } from "../output/table.js";
import { remoteAccess } from "../remote-source.js";
import { resolveSource } from "../sources.js";

interface PushCommandOptions extends CommonOptions {
  readonly private?: boolean;
  readonly message: string;
  readonly baseModel?: string;
  readonly license?: string;
}

export function addPush(program: Command): void {
  commandOf(program, "push <folder> <target>", "upload a model folder to the Hugging Face Hub")
    .option("--private", "a repository that is made is private")
    .option("--message <title>", "title of the commit", nonEmpty, "Upload a model with subbit")
    .option("--base-model <name>", "org/name of the teacher, for the card", nonEmpty)
    .option("--license <id>", "license of the model, for the card, such as apache-2.0", nonEmpty)
    .addHelpText(
      "after",
      examples(
        "subbit push packed hf:me/name-0.8bpw --base-model HuggingFaceTB/SmolLM2-135M --license apache-2.0",
        "subbit push packed hf:me/name-0.8bpw@draft --private",
      ) + "\nHF_TOKEN must hold a token that may write.\n",
    )
    .action((folder: string, target: string, options: PushCommandOptions) =>
      execute(options, (context) => push(context, folder, target, options)),
    );
}

async function push(
  context: Context,
  folder: string,
  target: string,
  options: PushCommandOptions,
): Promise<CommandResult> {
  if (!/^hf:/i.test(target))
    throw new SubbitError("usage", `${target} is no place on the Hub; give hf:org/name.`);
  const { hub, remote } = remoteAccess(context, target);
  if (remote.kind !== "hub" || remote.file !== undefined) {
    throw new SubbitError("usage", `${target} names a file; give hf:org/name or hf:org/name@branch.`);
  }
  // Opened first: what cannot be read is not worth sending.
  const { card, tags } = await withModel(context, resolveSource(folder), (model) =>
    Promise.resolve({ card: cardOf(remote.repo, inspectModel(model)), tags: tagsOf(model) }),
  );
  const pushed = await pushFolder(hub, resolveSource(folder), remote, {
    card,
    frontMatter: { tags, baseModel: options.baseModel, license: options.license },
    message: options.message,
    private: options.private === true,
    onProgress: context.onProgress,
  });
  const { url, commit, files } = pushed;
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const pairs = [
    ["address", url],
    ["commit", commit],
    ["sent", `${files.length} files, ${formatBytes(bytes)}`],
  ];
  return { json: { url, commit, files, bytes }, text: renderPairs(pairs) };
}

/** For searches on the Hub: what it is, and the methods of its linears. */
function tagsOf(model: Model): string[] {
  const methods = inspectModel(model).linears.map(({ method }) => method);
  return model.manifest === undefined
    ? ["subbit"]
    : [...new Set(["subbit", "sub-1-bit", "quantization", ...methods])].filter((tag) => tag !== "dense");
}

/** The card of a folder that has none; compressed models have one with all figures. */
function cardOf(repo: string, { architecture, parameters, bpw, fileBytes }: ModelReport): string {
  return [
    `# ${repo.split("/")[1]}`,
    "",
    "| what | value |",
    "| --- | --- |",
    `| architecture | ${architecture} |`,
    `| parameters | ${formatCount(parameters)} |`,
    `| bits per linear weight | ${bpw.toFixed(4)} (all stored bits) |`,
    `| weight file | ${formatCount(fileBytes)} bytes |`,
    "",
    "Run it with subbit:",
    "",
    "```",
    `npx subbit generate hf:${repo} --prompt "Once upon a time"`,
    "```",
    "",
  ].join("\n");
}
