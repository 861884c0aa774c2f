/** Snapshots that outlive the run that made them. */
import { snapshotOf, artefactOf } from "../src/distil/snapshot.js";
import type { DistilSnapshot } from "../src/distil/types.js";
import { decodeArtefact, encodeArtefact } from "../src/ledger/artefact.js";

/** The snapshot as the ledger would give it back. */
export function copyOf(state: DistilSnapshot): DistilSnapshot {
  return snapshotOf(decodeArtefact(Buffer.concat(encodeArtefact(artefactOf(state)))));
}
