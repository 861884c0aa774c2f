/** Whether student, teacher and data of a training fit together, said before anything is computed. */
import { inputError, type Model, type ModelSpec } from "@subbit/core";
import type { Windows } from "../calibrate/windows.js";

/** Figures of a spec that both models must share, by their names in config.json. */
const SHARED_FIGURES: readonly (readonly [field: string, value: (spec: ModelSpec) => number | string])[] = [
  ["vocab_size", (spec) => spec.vocabSize],
  ["hidden_size", (spec) => spec.hiddenSize],
  ["num_hidden_layers", (spec) => spec.layers],
  ["intermediate_size", (spec) => spec.mlp.intermediateSize],
  ["num_attention_heads", (spec) => spec.attention.heads],
  ["num_key_value_heads", (spec) => spec.attention.kvHeads],
  ["head_dim", (spec) => spec.attention.headDim],
  ["hidden_act", (spec) => spec.mlp.activation],
];

/** Throws `input` when the student is not packed, the teacher not dense, or the two differ in a shape. */
export function checkModels(student: Model, teacher: Model): void {
  const [ours, theirs] = [student.checkpoint.name, teacher.checkpoint.name];
  if (student.manifest === undefined) {
    throw inputError(
      `Training was asked for of ${ours}, which is dense; give a packed model, or make one with compress --tune full --recipe.`,
    );
  }
  if (teacher.manifest !== undefined) {
    throw inputError(
      `${theirs} was given as the teacher, but it is packed; give the dense model that the student was made from.`,
    );
  }
  for (const [field, value] of SHARED_FIGURES) {
    const [own, other] = [value(student.spec), value(teacher.spec)];
    if (own === other) continue;
    throw inputError(
      `The teacher ${theirs} has ${field} = ${other}, but the student ${ours} has ${own}; give the dense model that it was made from.`,
    );
  }
}

/** Throws `input` for data without a whole window, windows that the model cannot take, and ids that are no tokens of it. */
export function checkWindows({ ids, count, seqlen }: Windows, { vocabSize, maxPositions }: ModelSpec): void {
  if (count < 1 || ids.length !== count * seqlen) {
    throw inputError(
      `The training data hold ${ids.length} tokens for ${count} windows of ${seqlen}; give at least one whole window.`,
    );
  }
  if (seqlen < 2 || seqlen > maxPositions) {
    throw inputError(
      `Training windows of ${seqlen} tokens were asked for, but the model takes 2 to ${maxPositions}; give another --seqlen.`,
    );
  }
  const wrong = ids.find((id) => id < 0 || id >= vocabSize);
  if (wrong !== undefined) {
    throw inputError(
      `The training data hold the token id ${wrong}, but the model has ${vocabSize} tokens; use the model's own tokenizer.`,
    );
  }
}
