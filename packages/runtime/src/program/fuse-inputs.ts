/**
 * Norms and activations whose results only sign products read become part of making their tables: one barrier and one pass
 * over memory less each. Worth it for a single token, where barriers cost as much as the small instructions between them.
 */
import {
  I_ACTIVATION,
  I_EPS,
  I_FEATURES,
  I_FUNCTION,
  I_KIND,
  I_OTHER,
  I_RMS,
  NORM_RMS,
  N_BIAS,
  N_EPS,
  N_FEATURES,
  N_KIND,
  N_RESIDUAL,
  N_WEIGHT,
  OP_ACTIVATE,
  OP_NORM,
  OP_SIGN_MULTIPLY,
  OP_SIGN_TABLES,
  S_TERMS,
  T_TERMS,
  W_SRC,
  X_KIND,
  X_TIMES,
} from "../abi.js";
import { isValue, type Draft, type Operand, type Value } from "./draft.js";

/** Changes `drafts` in place. @param kept a value that is used after the program and so must be written */
export function fuseInputs(drafts: Draft[], kept: Value): void {
  for (let at = drafts.length - 1; at >= 0; at--) {
    const draft = drafts[at];
    const input = inputOf(draft);
    if (input === undefined || draft.writes[0] === kept) continue;
    const readers = drafts.filter((reader) => reader.reads.includes(draft.writes[0]));
    if (readers.length === 0 || !readers.every((reader) => takesInput(reader, draft))) continue;
    for (const reader of readers) {
      Object.assign(reader.operands, input, { [W_SRC]: draft.operands[W_SRC] });
      reader.reads = [...draft.reads, ...reader.reads.filter((value) => value !== draft.writes[0])];
    }
    drafts.splice(at, 1);
  }
}

/** The words that do the work of `draft` inside of its readers. */
function inputOf({ op, operands }: Draft): Record<number, Operand> | undefined {
  if (op === OP_NORM && operands[N_KIND] === NORM_RMS && operands[N_BIAS] === 0 && !operands[N_RESIDUAL]) {
    return {
      [I_KIND]: I_RMS,
      [I_OTHER]: operands[N_WEIGHT],
      [I_EPS]: operands[N_EPS],
      [I_FEATURES]: operands[N_FEATURES],
    };
  }
  if (op === OP_ACTIVATE) {
    return { [I_KIND]: I_ACTIVATION, [I_OTHER]: operands[X_TIMES], [I_FUNCTION]: operands[X_KIND] };
  }
  return undefined;
}

function takesInput(reader: Draft, { op, writes }: Draft): boolean {
  const source = reader.operands[W_SRC];
  const terms = reader.operands[reader.op === OP_SIGN_TABLES ? T_TERMS : S_TERMS];
  // Activations cost more than a barrier where every term computed them anew.
  if (op === OP_ACTIVATE && terms !== 1) return false;
  return (
    (reader.op === OP_SIGN_TABLES || reader.op === OP_SIGN_MULTIPLY) &&
    reader.operands[I_KIND] === undefined &&
    isValue(source) &&
    source === writes[0]
  );
}
