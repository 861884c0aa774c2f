/**
 * Sources on this machine: a folder in Hugging Face layout, a .gguf file, or the short name of a shipped model.
 * Shipped models lie in `models/` of the repository or installation, or of the current folder.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { inputError } from "@subbit/core";
import { isRemoteSource } from "@subbit/hub";

/** Path of the folder or file that `source`, which is not remote, means. Throws `input` when there is none. */
export function resolveSource(source: string): string {
  const path = resolve(source);
  if (existsSync(path)) return checkedPath(path, source);
  if (/^[\w.-]+$/.test(source)) {
    const shipped = modelFolders().map((folder) => join(folder, source));
    const found = shipped.find((candidate) => existsSync(join(candidate, "config.json")));
    if (found !== undefined) return found;
  }
  const names = shippedModels();
  const hint = names.length > 0 ? ` (shipped models: ${names.join(", ")})` : "";
  throw inputError(`${source} is no folder, no .gguf file and no shipped model${hint}; check the path.`);
}

/** The same, and `undefined` for a remote source. */
export function pathOf(source: string): string | undefined {
  return isRemoteSource(source) ? undefined : resolveSource(source);
}

/** Names of the shipped models that exist here. */
export function shippedModels(): string[] {
  const names = modelFolders().flatMap((folder) =>
    readdirSync(folder).filter((name) => existsSync(join(folder, name, "config.json"))),
  );
  return [...new Set(names)].sort();
}

function checkedPath(path: string, source: string): string {
  const stat = statSync(path);
  if (stat.isDirectory() || /\.gguf$/i.test(path)) return path;
  if (/\.safetensors$/i.test(path)) {
    throw inputError(`${source} is a weight file; give the folder that holds it together with config.json.`);
  }
  throw inputError(`${source} is neither a folder nor a .gguf file; give a model folder or a GGUF file.`);
}

/** `models/` of the current folder first, then of this package (installed) and of its repository. */
function modelFolders(): string[] {
  const packageRoot = fileURLToPath(new URL("..", import.meta.url));
  const folders = [resolve("models"), join(packageRoot, "models"), join(packageRoot, "..", "..", "models")];
  return [...new Set(folders)].filter(
    (candidate) => existsSync(candidate) && statSync(candidate).isDirectory(),
  );
}
