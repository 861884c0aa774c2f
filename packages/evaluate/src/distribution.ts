/**
 * What one row of logits says, in double precision: sums over a vocabulary of 100,000 lose digits in f32, and
 * perplexities are compared to the third decimal.
 */

/** log(sum(exp(row))), shifted by the maximum so that nothing overflows. */
export function logSumExp(row: Float32Array): number {
  let max = -Infinity;
  for (let i = 0; i < row.length; i++) if (row[i] > max) max = row[i];
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += Math.exp(row[i] - max);
  return max + Math.log(sum);
}

/** Index of the largest value; the first one wins a tie. */
export function argmax(row: Float32Array): number {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i] > row[best]) best = i;
  return best;
}

/**
 * KL(teacher || student) in nats between the softmax distributions of two rows of logits.
 * The norms are the rows' `logSumExp`, for callers that have them already.
 */
export function klDivergence(
  teacher: Float32Array,
  student: Float32Array,
  teacherNorm = logSumExp(teacher),
  studentNorm = logSumExp(student),
): number {
  let sum = 0;
  for (let i = 0; i < teacher.length; i++) {
    const logTeacher = teacher[i] - teacherNorm;
    const probability = Math.exp(logTeacher);
    // A probability of zero contributes nothing, whatever the student says (0 log 0 = 0).
    if (probability > 0) sum += probability * (logTeacher - (student[i] - studentNorm));
  }
  // Rounding may leave -1e-17 for equal rows.
  return Math.max(0, sum);
}
