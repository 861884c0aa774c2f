/** The stage table of a run: seconds, CPU time and what each stage gained. */
import type { StageReport } from "../options.js";

type Findings = Omit<StageReport, "stage" | "seconds" | "cpuSeconds">;

export class StageTable {
  readonly rows: StageReport[] = [];

  /** Runs a stage and notes what it took; `findings` are taken from its result, not counted in its time. */
  async run<T>(
    stage: string,
    work: () => Promise<T>,
    findings: (result: T) => Promise<Findings> | Findings,
  ): Promise<T> {
    const started = performance.now();
    const cpu = process.cpuUsage();
    const result = await work();
    const { user, system } = process.cpuUsage(cpu);
    const seconds = (performance.now() - started) / 1000;
    this.rows.push({ stage, seconds, cpuSeconds: (user + system) / 1e6, ...(await findings(result)) });
    return result;
  }
}
