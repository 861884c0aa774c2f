/** The architectures whose GGUF files are read. A new one is a file beside this one and a line here. */
import { inputError } from "../../../errors.js";
import { findText } from "../metadata.js";
import type { Metadata } from "../parse.js";
import { gemma2, gemma3 } from "./gemma.js";
import { llama } from "./llama.js";
import { phi3 } from "./phi3.js";
import { qwen2, qwen3 } from "./qwen.js";
import type { GgufArchitecture } from "./types.js";

const ARCHITECTURES: readonly GgufArchitecture[] = [llama, qwen2, qwen3, phi3, gemma2, gemma3];

/** The architecture that the file names; throws `input` for one that is not supported. */
export function architectureOf(metadata: Metadata, file: string): GgufArchitecture {
  const name = findText(metadata, "general.architecture");
  const found = ARCHITECTURES.find((architecture) => architecture.name === name);
  if (found !== undefined) return found;
  const supported = ARCHITECTURES.map((architecture) => architecture.name).join(", ");
  throw inputError(
    name === undefined
      ? `${file} does not say its architecture (general.architecture); supported: ${supported}.`
      : `${file} holds a model of the architecture ${JSON.stringify(name.slice(0, 60))}, which is not supported as GGUF; supported: ${supported}.`,
  );
}
