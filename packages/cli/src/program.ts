/** The command tree. */
import { Command } from "commander";
import { addBench } from "./commands/bench.js";
import { addCache } from "./commands/cache.js";
import { addChat } from "./commands/chat.js";
import { addCompress } from "./commands/compress.js";
import { addConvert } from "./commands/convert.js";
import { addDemo } from "./commands/demo.js";
import { addEval } from "./commands/eval.js";
import { addFactorise } from "./commands/factorise.js";
import { addGenerate } from "./commands/generate.js";
import { addInspect } from "./commands/inspect.js";
import { addLogits } from "./commands/logits.js";
import { addPull } from "./commands/pull.js";
import { addPush } from "./commands/push.js";
import { addTokenize } from "./commands/tokenize.js";
import { addTrain } from "./commands/train.js";
import { examples } from "./options/common.js";
import { VERSION } from "./version.js";

export function createProgram(): Command {
  const program = new Command("subbit");
  program
    .description(
      "Sub-1-bit language models: compress a checkpoint below one bit per weight, measure it, run it.",
    )
    .version(VERSION, "-V, --version", "the version")
    .helpCommand("help [command]", "help for a command")
    .showSuggestionAfterError()
    .exitOverride()
    // Errors are printed in one place, as one sentence (main.ts).
    .configureOutput({ outputError: () => undefined })
    .addHelpText(
      "after",
      examples(
        "subbit demo",
        "subbit chat",
        'subbit generate stories-11m --prompt "Once upon a time"',
        "subbit compress MODEL_FOLDER OUT --bpw 0.8 --calibration text.txt",
        "subbit eval OUT --text test.txt",
      ) +
        "\nA source is a folder in Hugging Face layout, a .gguf file, hf:org/name[@revision], the https:// address of such a\n" +
        "folder, or the name of a shipped model.\n" +
        "Exit codes: 0 done, 1 failed, 2 wrong command line, 3 bad input, 4 not enough memory or disk, 130 interrupted.\n",
    );
  addInspect(program);
  addCompress(program);
  addTrain(program);
  addFactorise(program);
  addEval(program);
  addConvert(program);
  addLogits(program);
  addGenerate(program);
  addChat(program);
  addTokenize(program);
  addBench(program);
  addDemo(program);
  addPull(program);
  addPush(program);
  addCache(program);
  return program;
}
