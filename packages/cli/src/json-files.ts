/** Small JSON files that commands take: token ids, chat messages. */
import { inputError, type ChatMessage } from "@subbit/core";
import { readTextFile } from "@subbit/core/node";

async function readJson(path: string): Promise<unknown> {
  const text = await readTextFile(path);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw inputError(`${path} is not JSON.`, { cause });
  }
}

/** `[1, 2, 3]`, or an object that holds it as `ids`, as `tokenize --json` prints. */
export async function readIds(path: string): Promise<number[]> {
  const value = await readJson(path);
  const ids = isObject(value) ? value["ids"] : value;
  if (!Array.isArray(ids) || !ids.every((id) => Number.isSafeInteger(id) && (id as number) >= 0)) {
    throw inputError(`${path} does not hold token ids; give a JSON array of whole numbers.`);
  }
  if (ids.length === 0) throw inputError(`${path} holds no token ids; give at least one.`);
  return ids as number[];
}

/** `[{"role": "user", "content": "..."}]`, or an object that holds it as `messages`. */
export async function readMessages(path: string): Promise<ChatMessage[]> {
  const value = await readJson(path);
  const messages = isObject(value) ? value["messages"] : value;
  const valid =
    Array.isArray(messages) &&
    messages.length > 0 &&
    messages.every(
      (message) =>
        isObject(message) && typeof message["role"] === "string" && typeof message["content"] === "string",
    );
  if (!valid)
    throw inputError(
      `${path} does not hold chat messages; give a JSON array of {"role", "content"} objects.`,
    );
  return messages as ChatMessage[];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
