/**
 * The log of a training, one JSON object a line: a step (`{"step", "tokens", "loss", ...}`) or an evaluation
 * (`{"step", "perplexity"}`). A resumed run first drops the lines of steps that it will do again, so that nothing appears
 * twice. Lines reach the system one by one: a killed process loses none.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import { SubbitError } from "@subbit/core";
import type { StepReport, TrainStart } from "@subbit/compress";

export interface StepLine {
  readonly step: number;
  readonly tokens: number;
  readonly loss: number;
  readonly logitsLoss: number;
  readonly hiddenLoss?: number;
  readonly gradientNorm?: number;
  readonly rate: number;
  readonly seconds: number;
}

export interface EvaluationLine {
  readonly step: number;
  readonly perplexity: number;
}

export type LogLine = StepLine | EvaluationLine;

export function stepLine(report: StepReport): StepLine {
  const { step, tokens, loss, logitsLoss, hiddenLoss, gradientNorm, rate, seconds } = report;
  return {
    step,
    tokens,
    loss,
    logitsLoss,
    ...(hiddenLoss !== undefined && { hiddenLoss }),
    ...(gradientNorm !== undefined && { gradientNorm }),
    rate,
    seconds,
  };
}

export class TrainLog {
  readonly #path: string;
  readonly #lines: LogLine[];
  #file: number | undefined;

  /** Throws `input` when `path` is a file that holds something else than a log. */
  constructor(path: string) {
    this.#path = resolve(path);
    this.#lines = readLog(this.#path);
  }

  /** All lines so far, those of earlier runs too. */
  get lines(): readonly LogLine[] {
    return this.#lines;
  }

  /** Opens the file behind the lines that the beginning keeps. */
  begin({ from, evaluations }: Pick<TrainStart, "from" | "evaluations">): void {
    mkdirSync(dirname(this.#path), { recursive: true });
    const kept = from === 0 ? [] : keptLines(this.#lines, from, evaluations);
    this.#lines.splice(0, this.#lines.length, ...kept);
    const text = kept.map((line) => `${JSON.stringify(line)}\n`).join("");
    const beside = `${this.#path}.tmp`;
    writeFileSync(beside, text);
    renameSync(beside, this.#path);
    this.#file = openSync(this.#path, "a");
  }

  write(line: LogLine): void {
    if (this.#file === undefined) throw new SubbitError("internal", "A line came before the log was begun.");
    writeSync(this.#file, `${JSON.stringify(line)}\n`);
    this.#lines.push(line);
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}

/** Lines of steps up to `from`, and as many evaluations as belong to them. */
function keptLines(lines: readonly LogLine[], from: number, evaluations: number): LogLine[] {
  let left = evaluations;
  return lines.filter((line) => (isEvaluation(line) ? left-- > 0 : line.step <= from));
}

export function isEvaluation(line: LogLine): line is EvaluationLine {
  return "perplexity" in line;
}

/** The lines of a log, none where there is no file; a last line that was cut off is left out. Throws `input` for other files. */
export function readLog(path: string): LogLine[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.flatMap((text, index): LogLine[] => {
    if (text === "") return [];
    const line = parseLine(text);
    if (line !== undefined) return [line];
    if (index === lines.length - 1 && isCutOff(text)) return [];
    throw new SubbitError(
      "input",
      `Line ${index + 1} of ${path} is none of a training log; give another --log, or remove that file.`,
    );
  });
}

/** How every line begins. */
const LINE_START = '{"step":';

/** Whether a text may be the beginning of a line that a killed process did not finish. */
function isCutOff(text: string): boolean {
  return text.startsWith(LINE_START) || LINE_START.startsWith(text);
}

function parseLine(text: string): LogLine | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { step, loss, perplexity } = value as Record<string, unknown>;
  const isLine = Number.isInteger(step) && (typeof loss === "number" || typeof perplexity === "number");
  return isLine ? (value as LogLine) : undefined;
}
