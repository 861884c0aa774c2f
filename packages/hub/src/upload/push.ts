/** `pushFolder`: a model folder becomes a commit on the Hub, by way of @huggingface/hub. */
import { openAsBlob } from "node:fs";
import { readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { SubbitError, inputError, throwIfAborted, type OnProgress } from "@subbit/core";
import type { CommitOperation, CommitOutput } from "@huggingface/hub";
import { hubFailure } from "../http/hub-fetch.js";
import type { Hub } from "../hub.js";
import type { HubSource } from "../source-name.js";
import { uploadFetch } from "./upload-fetch.js";
import { withFrontMatter, type FrontMatter } from "./front-matter.js";

export interface PushOptions {
  /** Text of the model card where the folder has none. */
  readonly card: string;
  readonly frontMatter: FrontMatter;
  /** Title of the commit. */
  readonly message: string;
  /** Of a repository that is made. @default false */
  readonly private?: boolean;
  readonly onProgress?: OnProgress | undefined;
}

export interface Pushed {
  readonly url: string;
  readonly commit: string;
  readonly files: readonly { readonly name: string; readonly bytes: number }[];
}

const CARD = "README.md";

/**
 * Uploads the files of `folder` (not its subfolders, nothing hidden) as one commit; the repository is made where there is none.
 * The card gets the head that the Hub reads unless it has one; the folder itself is not changed. Throws `usage` without a token,
 * `input` for a folder without a model or a place that may not be written, `network` for the rest.
 */
export async function pushFolder(
  hub: Hub,
  folder: string,
  target: HubSource,
  options: PushOptions,
): Promise<Pushed> {
  const { settings, client } = hub;
  if (settings.offline)
    throw new SubbitError("usage", "Pushing needs the network, but HF_HUB_OFFLINE is set; unset it.");
  if (settings.token === undefined) {
    throw new SubbitError("usage", `Pushing to ${target.name} needs a token that may write; set HF_TOKEN.`);
  }
  const operations = await operationsOf(folder, options);
  const { commitIter } = await import("@huggingface/hub");
  await createRepository(hub, target, options.private ?? false);
  const files = operations.map(({ path, content }) => ({ name: path, bytes: content.size }));
  const progress = new UploadProgress(target, files, options.onProgress);
  try {
    const iterator = commitIter({
      repo: { type: "model", name: target.repo },
      operations,
      title: options.message,
      branch: target.revision,
      hubUrl: client.endpoint,
      fetch: uploadFetch(client),
      ...(client.signal && { abortSignal: client.signal }),
    });
    let step = await iterator.next();
    for (; step.done !== true; step = await iterator.next()) {
      throwIfAborted(client.signal);
      if (step.value.event === "fileProgress" && step.value.state === "uploading")
        progress.set(step.value.path, step.value.progress);
    }
    const { commit } = requireCommit(step.value, target);
    progress.finish();
    return { url: `${client.endpoint}/${target.repo}`, commit: commit.oid, files };
  } catch (error) {
    throwIfAborted(client.signal);
    throw await writeFailure(error, target);
  }
}

type FileOperation = Extract<CommitOperation, { operation: "addOrUpdate" }> & { readonly content: Blob };

async function operationsOf(folder: string, { card, frontMatter }: PushOptions): Promise<FileOperation[]> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw inputError(`${folder} cannot be read as a folder; give a model's folder.`, { cause });
  });
  if (!names.includes("config.json"))
    throw inputError(`${folder} holds no config.json; give a model's folder.`);
  const operations: FileOperation[] = [];
  for (const name of names.sort()) {
    const path = join(folder, name);
    if (name === CARD || name.startsWith(".") || !(await stat(path)).isFile()) continue;
    operations.push({ operation: "addOrUpdate", path: name, content: await openAsBlob(path) });
  }
  const text = names.includes(CARD) ? await readFile(join(folder, CARD), "utf8") : card;
  const content = new Blob([withFrontMatter(text, frontMatter)]);
  return [...operations, { operation: "addOrUpdate", path: CARD, content }];
}

/** 409: it is there already. */
async function createRepository(
  { client, settings }: Hub,
  target: HubSource,
  isPrivate: boolean,
): Promise<void> {
  const { createRepo, HubApiError } = await import("@huggingface/hub");
  try {
    await createRepo({
      repo: { type: "model", name: target.repo },
      visibility: isPrivate ? "private" : "public",
      hubUrl: client.endpoint,
      fetch: uploadFetch(client),
      // Its header is replaced by ours, which goes to the Hub only.
      accessToken: settings.token?.startsWith("hf_") === true ? settings.token : "hf_",
    });
  } catch (error) {
    if (!(error instanceof HubApiError && error.statusCode === 409)) throw await writeFailure(error, target);
  }
}

async function writeFailure(error: unknown, { name }: HubSource): Promise<unknown> {
  const { HubApiError } = await import("@huggingface/hub");
  if (error instanceof HubApiError && (error.statusCode === 401 || error.statusCode === 403)) {
    const message = `HF_TOKEN may not write to ${name} (status ${error.statusCode}); set it to a token that may.`;
    return inputError(message, { cause: error });
  }
  return hubFailure(error, name);
}

function requireCommit(output: CommitOutput | undefined, target: HubSource): CommitOutput {
  if (typeof output?.commit?.oid === "string") return output;
  throw new SubbitError(
    "network",
    `The Hub did not say which commit ${target.name} has now; look at its page.`,
  );
}

/** Bytes over all files; small files count when the commit is made. */
class UploadProgress {
  readonly #stage: string;
  readonly #bytes: ReadonlyMap<string, number>;
  readonly #done = new Map<string, number>();
  readonly #onProgress: OnProgress | undefined;
  readonly #total: number;

  constructor(target: HubSource, files: Pushed["files"], onProgress: OnProgress | undefined) {
    this.#stage = `push ${target.name}`;
    this.#bytes = new Map(files.map(({ name, bytes }) => [name, bytes]));
    this.#total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#onProgress = onProgress;
    this.#report();
  }

  set(path: string, share: number): void {
    const done = Math.floor(share * (this.#bytes.get(path) ?? 0));
    this.#done.set(path, Math.max(this.#done.get(path) ?? 0, done));
    this.#report();
  }

  finish(): void {
    for (const [path, bytes] of this.#bytes) this.#done.set(path, bytes);
    this.#report();
  }

  #report(): void {
    const done = [...this.#done.values()].reduce((sum, bytes) => sum + bytes, 0);
    this.#onProgress?.({ stage: this.#stage, done, total: this.#total, unit: "bytes" });
  }
}
