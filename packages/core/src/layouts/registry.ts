/** Which official layouts are known: one line each. */
import type { Checkpoint } from "../checkpoints/types.js";
import { dbf } from "./dbf.js";
import { littleBit } from "./littlebit.js";
import { mdbf } from "./mdbf.js";
import { nanoQuant } from "./nanoquant.js";
import type { OfficialLayout, OfficialLayoutName } from "./official-layout.js";
import { oneBit } from "./onebit.js";

export const OFFICIAL_LAYOUTS: readonly OfficialLayout[] = [littleBit, oneBit, dbf, mdbf, nanoQuant];

/** The layout that a checkpoint is in by the names of its tensors; `undefined` for dense ones. */
export function findLayout({ tensors }: Checkpoint): OfficialLayout | undefined {
  return OFFICIAL_LAYOUTS.find((layout) => layout.matches(tensors.keys()));
}

export function officialLayout(name: OfficialLayoutName): OfficialLayout {
  return OFFICIAL_LAYOUTS.find((layout) => layout.name === name)!;
}
