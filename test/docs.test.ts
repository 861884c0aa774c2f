/** The code blocks of README and docs run: ```sh blocks line by line as users type them, ```js blocks as modules. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { REPOSITORY, runCli } from "./support/run-cli.js";

function blocks(file: string, language: string): string[] {
  const text = readFileSync(join(REPOSITORY, file), "utf8");
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, "gm"))].map(
    (match) => match[1],
  );
}

/** Splits a command line at blanks outside double quotes. */
function words(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2]);
}

const documents = ["README.md", ...readdirSync(join(REPOSITORY, "docs")).map((name) => `docs/${name}`)];
const examples = documents
  .filter((name) => name.endsWith(".md"))
  .map((file) => ({
    file,
    commands: blocks(file, "sh").flatMap((block) => block.trim().split("\n")),
    modules: blocks(file, "js"),
  }));

it("finds commands and modules to run in the README", () => {
  expect(examples[0].commands.length).toBeGreaterThan(2);
  expect(examples[0].modules.length).toBeGreaterThan(0);
});

describe.each(examples)("$file", ({ commands, modules }) => {
  it.runIf(commands.length > 0)("has commands that work", async () => {
    for (const command of commands) {
      const [npx, subbit, ...args] = words(command);
      expect([npx, subbit], command).toEqual(["npx", "subbit"]);
      const { exitCode, stdout, stderr } = await runCli(args, { cwd: REPOSITORY });
      expect(exitCode, `${command}\n${stderr}`).toBe(0);
      expect(stdout.length, command).toBeGreaterThan(0);
    }
  });

  it.runIf(modules.length > 0)("has modules that run", () => {
    for (const code of modules) {
      const run = spawnSync(process.execPath, ["--input-type=module", "--eval", code], {
        cwd: REPOSITORY,
        encoding: "utf8",
      });
      expect(run.status, `${code}\n${run.stderr}`).toBe(0);
      expect(run.stdout.length).toBeGreaterThan(0);
    }
  });
});
