/** Rewrites of a draft program that save passes over memory and barriers, never changing what is computed. */
import {
  E_OTHER,
  M_RESIDUAL,
  N_RESIDUAL,
  OP_ACTIVATE,
  OP_ADD,
  OP_DENSE,
  OP_MULTIPLY,
  OP_NORM,
  OP_SIGN_GEMM,
  OP_SIGN_MULTIPLY,
  OP_SIGN_PRODUCT,
  S_RESIDUAL,
  W_DST,
  W_SRC,
  X_TIMES,
} from "../abi.js";
import { isValue, replaceRead, type Draft, type Value } from "./draft.js";

/** Where the linears take the rows that they add to their product; of a OneBit linear that is its norm. */
const RESIDUAL_WORDS: ReadonlyMap<number | undefined, number> = new Map([
  [OP_DENSE, M_RESIDUAL],
  [OP_NORM, N_RESIDUAL],
  [OP_SIGN_GEMM, S_RESIDUAL],
  [OP_SIGN_MULTIPLY, S_RESIDUAL],
  [OP_SIGN_PRODUCT, S_RESIDUAL],
]);

/** @param kept a value that is used after the program, under whatever name fusion leaves it: the result is returned */
export function fuse(drafts: Draft[], kept: Value): { drafts: Draft[]; kept: Value } {
  const result = [...drafts];
  for (let at = 0; at < result.length; at++) {
    const draft = result[at];
    if (draft.op === OP_MULTIPLY) {
      if (fuseGate(result, at)) at--;
    } else if (draft.op === OP_ADD) {
      const replaced = fuseResidual(result, at);
      if (replaced !== undefined) {
        if (kept === replaced.from) kept = replaced.to;
        at--;
      }
    }
  }
  return { drafts: result, kept };
}

function usesOf(drafts: readonly Draft[], value: Value): number {
  // A chained draft reads its own output back; that is no use of the finished value.
  return drafts.filter(
    (draft) => draft.reads.includes(value) && !(draft.chained && draft.writes.includes(value)),
  ).length;
}

/** activation(a) then times b -> one instruction in the place of the product. True when it took one draft away before `at`. */
function fuseGate(drafts: Draft[], at: number): boolean {
  const product = drafts[at];
  const gate = product.operands[W_SRC];
  const other = product.operands[E_OTHER];
  if (!isValue(gate) || !isValue(other) || usesOf(drafts, gate) !== 1) return false;
  const from = drafts.findIndex((draft) => draft.op === OP_ACTIVATE && draft.writes.includes(gate));
  if (from < 0 || drafts[from].operands[X_TIMES] !== 0) return false;
  const activation = drafts[from];
  drafts[at] = {
    ...activation,
    operands: { ...activation.operands, [W_DST]: product.operands[W_DST], [X_TIMES]: other },
    reads: [...activation.reads, other],
    writes: product.writes,
  };
  drafts.splice(from, 1);
  return true;
}

/** a + linear(x) -> the linear adds a as it finishes. */
function fuseResidual(drafts: Draft[], at: number): { from: Value; to: Value } | undefined {
  const sum = drafts[at];
  const residual = sum.operands[W_SRC];
  const product = sum.operands[E_OTHER];
  if (!isValue(residual) || !isValue(product) || usesOf(drafts, product) !== 1) return undefined;
  const from = drafts.findLastIndex((draft) => draft.writes.includes(product));
  const linear = drafts[from];
  const word = RESIDUAL_WORDS.get(linear?.op);
  if (word === undefined || linear.operands[word] !== undefined) return undefined;
  linear.operands[word] = residual;
  linear.reads = [...linear.reads, residual];
  const output = sum.writes[0];
  drafts.splice(at, 1);
  for (const draft of drafts) replaceRead(draft, output, product);
  return { from: output, to: product };
}
