/**
 * Decodes whole blocks to f32. `out` has the exact number of elements. Every step is rounded to f32 where ggml's own
 * arithmetic in C rounds, so that the values are the same to the last bit.
 */
export type Dequantise = (bytes: Uint8Array, out: Float32Array) => void;
