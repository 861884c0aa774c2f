/**
 * The curves of a training as a TensorBoard event file, beside the JSON log and with its rules: a resumed run first drops
 * the points of steps that it will do again. Wall times are the only thing in it that differs between equal runs.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { inputError, SubbitError } from "@subbit/core";
import type { TrainStart } from "@subbit/compress";
import { encodeScalars, encodeVersion, frameRecord, readStep, unframeRecords } from "./event-records.js";
import { isEvaluation, type LogLine } from "./train-log.js";

/** TensorBoard takes every file with `tfevents` in its name; ours has one name, so that a resumed run finds it. */
export const EVENT_FILE = "events.out.tfevents.subbit";
/** Ten million steps of five curves and more. */
const MAX_FILE_BYTES = 2 ** 31 - 2 ** 16;
const PERPLEXITY = "evaluation/perplexity";

export class TensorBoardLog {
  readonly #path: string;
  readonly #now: () => number;
  #file: number | undefined;

  /** Throws `input` when the folder's event file is none of ours. `now` gives seconds since 1970. */
  constructor(folder: string, now: () => number = () => Date.now() / 1000) {
    this.#path = join(resolve(folder), EVENT_FILE);
    this.#now = now;
    readEvents(this.#path);
  }

  /** Opens the file behind the points that the beginning keeps. */
  begin({ from, evaluations }: Pick<TrainStart, "from" | "evaluations">): void {
    let left = evaluations;
    const kept = readEvents(this.#path).filter((event) => {
      if (from === 0) return false;
      return event.tags.includes(PERPLEXITY) ? left-- > 0 : event.step <= from;
    });
    mkdirSync(resolve(this.#path, ".."), { recursive: true });
    const beside = `${this.#path}.tmp`;
    const records = [encodeVersion(this.#now()), ...kept.map(({ message }) => message)];
    writeFileSync(beside, Buffer.concat(records.map(frameRecord)));
    renameSync(beside, this.#path);
    this.#file = openSync(this.#path, "a");
  }

  /** One point on the curve of each figure of the line; figures that are no finite numbers have none. */
  write(line: LogLine): void {
    if (this.#file === undefined) throw new SubbitError("internal", "A point came before the log was begun.");
    const scalars = Object.fromEntries(
      Object.entries(scalarsOf(line)).filter(([, scalar]) => Number.isFinite(scalar)),
    ) as Record<string, number>;
    if (Object.keys(scalars).length === 0) return;
    writeSync(this.#file, frameRecord(encodeScalars(line.step, this.#now(), scalars)));
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}

function scalarsOf(line: LogLine): Record<string, number | undefined> {
  if (isEvaluation(line)) return { [PERPLEXITY]: line.perplexity };
  const { loss, logitsLoss, hiddenLoss, gradientNorm, rate, seconds } = line;
  return {
    "train/loss": loss,
    "train/logits_loss": logitsLoss,
    "train/hidden_loss": hiddenLoss,
    "train/gradient_norm": gradientNorm,
    "train/rate": rate,
    "train/seconds": seconds,
    "train/tokens": line.tokens,
  };
}

interface StoredEvent {
  readonly step: number;
  readonly tags: readonly string[];
  readonly message: Buffer;
}

/** Events up to where the file was cut off, none where there is no file. */
function readEvents(path: string): StoredEvent[] {
  if (!existsSync(path)) return [];
  if (statSync(path).size > MAX_FILE_BYTES) {
    throw inputError(`${path} has more than ${MAX_FILE_BYTES} bytes; give another --tensorboard folder.`);
  }
  const file = readFileSync(path);
  const { messages, soundBytes } = unframeRecords(file);
  if (soundBytes === 0 && file.length > 0) {
    throw inputError(`${path} holds no events; give another --tensorboard folder, or remove that file.`);
  }
  return messages.flatMap((message) => {
    const found = readStep(message);
    return found === undefined ? [] : [{ ...found, message }];
  });
}
