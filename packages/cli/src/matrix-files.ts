/** Matrices and second moments from safetensors files, for `factorise`. */
import { inputError, openSafetensors, type SafetensorsFile } from "@subbit/core";
import { fileSource } from "@subbit/core/node";
import type { Importance } from "@subbit/compress";

export interface Matrix {
  readonly rows: number;
  readonly cols: number;
  /** [rows, cols] */
  readonly values: Float32Array;
}

/** The matrix called `tensor`, or the only one of the file. Throws `input`. */
export function readMatrix(path: string, tensor: string | undefined): Promise<Matrix> {
  return withFile(path, async (file) => {
    const matrices = [...file.tensors.values()].filter((info) => info.shape.length === 2);
    const found = tensor === undefined ? matrices : matrices.filter((info) => info.name === tensor);
    if (found.length !== 1) {
      const names = matrices
        .slice(0, 8)
        .map((info) => info.name)
        .join(", ");
      throw inputError(
        tensor === undefined
          ? `${path} holds ${matrices.length} matrices (${names}); say which with --tensor.`
          : `${path} holds no matrix ${tensor}; it has ${names}.`,
      );
    }
    const [info] = found;
    const values = await file.readF32(info.name);
    if (!values.every(Number.isFinite))
      throw inputError(`${info.name} of ${path} holds values that are not finite.`);
    return { rows: info.shape[0], cols: info.shape[1], values };
  });
}

/** `input` [cols], `output` [rows] and `gram` [cols, cols], whichever the file holds. Throws `input`. */
export function readImportance(path: string, { rows, cols }: Omit<Matrix, "values">): Promise<Importance> {
  return withFile(path, async (file) => {
    const read = async (name: string, length: number): Promise<Float32Array | undefined> => {
      if (!file.tensors.has(name)) return undefined;
      const values = await file.readF32(name);
      if (values.length !== length)
        throw inputError(
          `${name} of ${path} has ${values.length} values, but the matrix is ${rows} x ${cols}.`,
        );
      return values;
    };
    const moments = async (name: string, length: number): Promise<Float32Array | undefined> => {
      const values = await read(name, length);
      if (values?.every((value) => Number.isFinite(value) && value >= 0) === false)
        throw inputError(`${name} of ${path} holds values that are negative or not finite.`);
      return values;
    };
    const output = await moments("output", rows);
    const gram = await read("gram", cols * cols);
    if (gram !== undefined) checkGram(gram, cols, path);
    // A Gram matrix without means of its own brings them on its diagonal.
    const input = (await moments("input", cols)) ?? (gram && diagonalOf(gram, cols));
    if (input === undefined && output === undefined)
      throw inputError(
        `${path} holds none of input [${cols}], output [${rows}] and gram [${cols}, ${cols}].`,
      );
    return { ...(input && { input }), ...(output && { output }), ...(gram && { inputGram: gram }) };
  });
}

async function withFile<R>(path: string, body: (file: SafetensorsFile) => Promise<R>): Promise<R> {
  const file = await openSafetensors(await fileSource(path));
  try {
    return await body(file);
  } finally {
    await file.close();
  }
}

/** How far two mirrored entries may be apart, relative to the largest: sums of 32-bit floats in two orders. */
const SYMMETRY_TOLERANCE = 1e-3;

function checkGram(gram: Float32Array, cols: number, path: string): void {
  if (!gram.every(Number.isFinite)) throw inputError(`gram of ${path} holds values that are not finite.`);
  const largest = gram.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (let row = 0; row < cols; row++) {
    if (gram[row * cols + row] < 0) {
      throw inputError(
        `gram of ${path} has ${gram[row * cols + row]} on its diagonal; mean squares are not negative.`,
      );
    }
    for (let col = 0; col < row; col++) {
      const apart = Math.abs(gram[row * cols + col] - gram[col * cols + row]);
      if (apart > SYMMETRY_TOLERANCE * largest) {
        throw inputError(
          `gram of ${path} is not symmetric (row ${row}, column ${col}); give E[x x^T] of the inputs.`,
        );
      }
    }
  }
}

function diagonalOf(gram: Float32Array, cols: number): Float32Array {
  return Float32Array.from({ length: cols }, (_, i) => gram[i * cols + i]);
}
