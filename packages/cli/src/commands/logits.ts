/** `subbit logits`: the raw output of a model for given tokens, for comparison with other implementations. */
import { inputError } from "@subbit/core";
import { writeSafetensors } from "@subbit/core/node";
import type { Command } from "commander";
import { deviceOption, withForward, type DeviceOptions, type ForwardOutput } from "../backends.js";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { readIds } from "../json-files.js";
import { withModel } from "../open-source.js";
import {
  commandOf,
  examples,
  kvBitsOption,
  overwriteOption,
  threadsOption,
  type KvBitsOptions,
  type OverwriteOptions,
  type ThreadOptions,
} from "../options/common.js";
import { assertWritable, writeWhole } from "../output-paths.js";

interface LogitsOptions extends CommonOptions, ThreadOptions, KvBitsOptions, DeviceOptions, OverwriteOptions {
  readonly ids: string;
  readonly out: string;
  readonly hidden?: boolean;
}

export function addLogits(program: Command): void {
  commandOf(program, "logits <source>", "write the logits of a token sequence to a safetensors file")
    .requiredOption("--ids <file>", "JSON array of token ids")
    .requiredOption("--out <file>", "safetensors file to write: logits [tokens, vocab] in f32")
    .option("--hidden", "also hidden.0 (entering the first block) to hidden.N (after the last norm)")
    .addOption(threadsOption())
    .addOption(deviceOption())
    .addOption(kvBitsOption())
    .addOption(overwriteOption())
    .addHelpText(
      "after",
      examples("subbit logits stories-11m --ids ids.json --out logits.safetensors --hidden"),
    )
    .action((source: string, options: LogitsOptions) =>
      execute(options, (context) => logits(context, source, options)),
    );
}

async function logits(context: Context, source: string, options: LogitsOptions): Promise<CommandResult> {
  assertWritable(options.out, options.overwrite === true);
  const ids = await readIds(options.ids);
  return withModel(context, source, async (model) => {
    const { vocabSize, maxPositions } = model.spec;
    const stray = ids.find((id) => id >= vocabSize);
    if (stray !== undefined)
      throw inputError(
        `${options.ids} holds the id ${stray}, but the vocabulary of ${source} has ${vocabSize} tokens.`,
      );
    if (ids.length > maxPositions) {
      throw inputError(
        `${options.ids} holds ${ids.length} tokens, but ${source} was trained for ${maxPositions}; give fewer.`,
      );
    }
    const output = await withForward(
      model,
      options.device,
      { threads: options.threads, kvBits: options.kvBits, tokens: ids.length, signal: context.signal },
      (forward) => forward.run(ids, options.hidden === true),
    );
    await writeWhole(options.out, async (partial) => {
      await writeSafetensors(partial, tensorsOf(output, ids.length, vocabSize, options.hidden === true));
    });
    return {
      json: { out: options.out, tokens: ids.length, vocab: vocabSize },
      text: `${options.out}: logits [${ids.length}, ${vocabSize}]${options.hidden === true ? ` and ${model.spec.layers + 1} hidden states` : ""}`,
    };
  });
}

function tensorsOf(output: ForwardOutput, tokens: number, vocabSize: number, hidden: boolean) {
  const tensor = (name: string, values: Float32Array, cols: number) => ({
    name,
    dtype: "F32" as const,
    shape: [tokens, cols],
    data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  });
  const states = hidden ? (output.hidden ?? []) : [];
  return [
    tensor("logits", output.logits, vocabSize),
    ...states.map((state, i) => tensor(`hidden.${i}`, state, state.length / tokens)),
  ];
}
