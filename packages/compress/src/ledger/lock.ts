/** One run per work folder. */
import { SubbitError } from "@subbit/core";
import { tryProcessLock } from "@subbit/core/node";

/** Takes the lock file at `path`; returns how to release it. Throws `usage` while another live process holds it. */
export async function takeLock(path: string): Promise<() => Promise<void>> {
  const outcome = await tryProcessLock(path);
  if (outcome.taken) return outcome.release;
  const { pid, host } = outcome.holder;
  throw new SubbitError(
    "usage",
    `Another run (process ${pid} on ${host}) is using ${path}; wait for it, or remove that file if it is gone.`,
  );
}
