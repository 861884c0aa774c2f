/**
 * LittleBit (arXiv 2506.13771): two paths by default, the second fitted to what the signs and scales of the first leave.
 * Starts: Dual-SVID (its section 3), the same behind LittleBit-2's Joint-ITQ rotation (arXiv 2603.00042), or DBF's ADMM
 * path by path.
 */
import { dbfStart } from "./dbf.js";
import { dualSvid, itq } from "./dual-svid.js";
import type { FactoredMethod } from "./method.js";

export const littlebit: FactoredMethod = {
  kind: "factored",
  midScale: true,
  paths: 2,
  envelope: 1,
  envelopes: false,
  inits: { "dual-svid": dualSvid, itq, admm: dbfStart },
};
