import { describe, expect, it } from "vitest";
import { ProgressDisplay } from "./progress.js";
import { createStyle } from "./style.js";

function recorder(isTTY: boolean, quiet = false) {
  let clock = 0;
  let written = "";
  const target = {
    isTTY,
    columns: 100,
    write: (text: string) => {
      written += text;
    },
  };
  const display = new ProgressDisplay({ target, style: createStyle({}, {}), quiet, now: () => clock });
  return {
    display,
    at(ms: number, done: number, stage = "calibrate"): void {
      clock = ms;
      display.onProgress({ stage, done, total: 100, unit: "windows", note: "loss 0.5" });
    },
    set clock(ms: number) {
      clock = ms;
    },
    text: () => written,
  };
}

describe("ProgressDisplay", () => {
  it("moves one bar with the time left on a terminal", () => {
    const log = recorder(true);
    log.at(0, 0);
    log.at(10_000, 25);
    expect(log.text()).toContain("\r\u001b[2K");
    expect(log.text()).toContain(
      "calibrate [######..................] 25%  25/100 windows  ETA 30 s  loss 0.5",
    );
    expect(log.text()).not.toContain("\n");
    // What comes after the last event is not the stage's time.
    log.clock = 40_000;
    log.display.finish();
    expect(log.text()).toMatch(/done calibrate {2}25\/100 windows {2}10 s {2}loss 0\.5\n$/);
  });

  it("counts a resumed stage from where it was, not from zero", () => {
    const log = recorder(true);
    log.at(0, 80);
    log.at(10_000, 90);
    expect(log.text()).toContain("ETA 10 s");
  });

  it("writes plain lines every few seconds elsewhere", () => {
    const log = recorder(false);
    for (let second = 0; second <= 12; second++) log.at(second * 1000, second);
    const lines = log.text().trimEnd().split("\n");
    expect(lines).toHaveLength(2);
    expect(log.text()).not.toContain("\u001b");
    log.at(13_000, 0, "factorise");
    expect(log.text()).toContain("done calibrate");
  });

  it("leaves no line for a stage that took no time, and none at all when quiet", () => {
    const brief = recorder(false);
    brief.at(0, 0);
    brief.at(50, 100);
    brief.display.finish();
    expect(brief.text()).toBe("");
    const quiet = recorder(true, true);
    quiet.at(0, 0);
    quiet.at(60_000, 50);
    quiet.display.finish();
    expect(quiet.text()).toBe("");
  });
});

describe("createStyle", () => {
  it("paints on a terminal only, and never with NO_COLOR", () => {
    expect(createStyle({ isTTY: true }, {}).bold("x")).toBe("\u001b[1mx\u001b[22m");
    expect(createStyle({ isTTY: true }, { NO_COLOR: "1" }).bold("x")).toBe("x");
    expect(createStyle({ isTTY: false }, {}).bold("x")).toBe("x");
  });
});
