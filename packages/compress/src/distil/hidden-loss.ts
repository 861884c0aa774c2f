/** Losses between a student's and a teacher's hidden states, with their gradients at the student's. */

export interface HiddenTerm {
  readonly loss: number;
  /** Of scale * loss, same shape as the states. */
  readonly gradient: Float32Array;
}

/** Keeps the direction of a state of length zero defined. */
const SHORTEST = 1e-12;

/** Mean of (s - t)^2 over all elements (LittleBit). */
export function meanSquares(student: Float32Array, teacher: Float32Array, scale: number): HiddenTerm {
  const count = student.length;
  const gradient = new Float32Array(count);
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const difference = student[i] - teacher[i];
    sum += difference * difference;
    gradient[i] = (2 * scale * difference) / count;
  }
  return { loss: sum / count, gradient };
}

/**
 * Mean over tokens of |s / |s| - t / |t||^2 (OneBit, arXiv 2402.11295, section 3.4); states are [tokens, width].
 * With the directions a and b it is 2 - 2 a.b, whose gradient at s is 2 (a (a.b) - b) / |s|.
 */
export function directionSquares(
  student: Float32Array,
  teacher: Float32Array,
  width: number,
  scale: number,
): HiddenTerm {
  const tokens = student.length / width;
  const gradient = new Float32Array(student.length);
  let sum = 0;
  for (let begin = 0; begin < student.length; begin += width) {
    let [ss, tt, st] = [0, 0, 0];
    for (let i = begin; i < begin + width; i++) {
      ss += student[i] * student[i];
      tt += teacher[i] * teacher[i];
      st += student[i] * teacher[i];
    }
    const length = Math.max(Math.sqrt(ss), SHORTEST);
    const teacherLength = Math.max(Math.sqrt(tt), SHORTEST);
    const cosine = st / (length * teacherLength);
    sum += ss / length ** 2 + tt / teacherLength ** 2 - 2 * cosine;
    const factor = (2 * scale) / (tokens * length);
    for (let i = begin; i < begin + width; i++) {
      gradient[i] = factor * ((student[i] / length) * cosine - teacher[i] / teacherLength);
    }
  }
  return { loss: sum / tokens, gradient };
}
