/**
 * Draws progress events on standard error: one moving bar with the time left on a terminal, a plain line every few
 * seconds elsewhere (logs, CI), nothing when quiet. A finished stage leaves one line behind.
 */
import type { OnProgress, ProgressEvent } from "@subbit/core";
import { formatBytes, formatCount, formatSeconds } from "./format.js";
import type { Style } from "./style.js";

export interface ProgressTarget {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface ProgressOptions {
  readonly target: ProgressTarget;
  readonly style: Style;
  readonly quiet: boolean;
  /** Milliseconds. @default performance.now */
  readonly now?: () => number;
}

const TERMINAL_INTERVAL_MS = 100;
const PLAIN_INTERVAL_MS = 5000;
/** Stages that end sooner than this leave no line in a log. */
const WORTH_A_LINE_MS = 1000;
const BAR_CELLS = 24;

interface Stage {
  readonly name: string;
  readonly startedMs: number;
  /** `done` of the first event: a resumed stage starts above zero and its rate must not count that. */
  readonly startedAt: number;
  last: ProgressEvent;
  /** When it came: what follows a stage's last event belongs to the next one. */
  lastMs: number;
}

export class ProgressDisplay {
  readonly #target: ProgressTarget;
  readonly #style: Style;
  readonly #quiet: boolean;
  readonly #now: () => number;
  #stage: Stage | undefined;
  #drawnMs = -Infinity;
  #lineOpen = false;

  constructor({ target, style, quiet, now = () => performance.now() }: ProgressOptions) {
    this.#target = target;
    this.#style = style;
    this.#quiet = quiet;
    this.#now = now;
  }

  readonly onProgress: OnProgress = (event) => {
    if (this.#quiet) return;
    if (this.#stage !== undefined && this.#stage.name !== event.stage) this.#leaveStage();
    const now = this.#now();
    if (this.#stage === undefined) {
      this.#stage = { name: event.stage, startedMs: now, startedAt: event.done, last: event, lastMs: now };
      // A log wants to hear of a stage only when it lasts; a terminal at once.
      this.#drawnMs = this.#terminal ? -Infinity : now;
    }
    this.#stage.last = event;
    this.#stage.lastMs = now;
    if (now - this.#drawnMs < (this.#terminal ? TERMINAL_INTERVAL_MS : PLAIN_INTERVAL_MS)) return;
    this.#drawnMs = now;
    this.#draw(this.#stage, now);
  };

  /** A line of its own, the bar (if any) redrawn below it by the next event. */
  line(text: string): void {
    this.#clear();
    this.#target.write(`${text}\n`);
  }

  /** Ends the running stage; standard output may be written after this. */
  finish(): void {
    this.#leaveStage();
  }

  /** Drops the bar without a closing line, after a failure. */
  abandon(): void {
    this.#clear();
    this.#stage = undefined;
  }

  get #terminal(): boolean {
    return this.#target.isTTY === true;
  }

  #leaveStage(): void {
    const stage = this.#stage;
    if (stage === undefined) return;
    this.#stage = undefined;
    this.#clear();
    const elapsed = stage.lastMs - stage.startedMs;
    if (elapsed < WORTH_A_LINE_MS) return;
    const note = stage.last.note === undefined ? "" : `  ${stage.last.note}`;
    const amount = formatAmount(stage.last);
    this.#target.write(
      `${this.#style.green("done")} ${stage.name}  ${amount}  ${formatSeconds(elapsed / 1000)}${note}\n`,
    );
  }

  #draw(stage: Stage, now: number): void {
    const { done, total, note } = stage.last;
    const share = total > 0 ? Math.min(1, done / total) : 0;
    const elapsed = (now - stage.startedMs) / 1000;
    const rate = elapsed > 0 ? (done - stage.startedAt) / elapsed : 0;
    const left = rate > 0 && done < total ? `  ETA ${formatSeconds((total - done) / rate)}` : "";
    const tail = `${formatAmount(stage.last)}${left}${note === undefined ? "" : `  ${note}`}`;
    const percent = `${Math.floor(share * 100)}%`.padStart(4);
    if (!this.#terminal) {
      this.#target.write(`${stage.name} ${percent}  ${tail}\n`);
      return;
    }
    const full = Math.round(share * BAR_CELLS);
    const bar = `[${"#".repeat(full)}${".".repeat(BAR_CELLS - full)}]`;
    // A pseudo-terminal may say that it has no columns at all.
    const width = Math.max(20, (this.#target.columns || 80) - 1);
    const line = `${stage.name} ${bar}${percent}  ${tail}`.slice(0, width);
    this.#target.write(`\r\u001b[2K${line}`);
    this.#lineOpen = true;
  }

  #clear(): void {
    if (!this.#lineOpen) return;
    this.#target.write("\r\u001b[2K");
    this.#lineOpen = false;
  }
}

function formatAmount({ done, total, unit }: ProgressEvent): string {
  return unit === "bytes"
    ? `${formatBytes(done)} of ${formatBytes(total)}`
    : `${formatCount(done)}/${formatCount(total)} ${unit}`;
}
