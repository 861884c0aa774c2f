/** Collects garbage on request. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let collect: (() => void) | undefined;

/**
 * Gives the arrays that nothing refers to back to the system, now. The engine's garbage collector goes by what JavaScript
 * allocates; a program that runs for minutes in native code keeps gigabytes of dead arrays all the while.
 */
export function collectGarbage(): void {
  if (collect === undefined) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
  }
  collect();
}
