/**
 * What a file may ask of us before it is believed. Each limit stands well above any real model and far below what
 * would exhaust memory or time; the CWE ids name the weakness that it closes.
 */

/** Bytes of a safetensors header: 100 MB, the limit of the reference implementation (CWE-789, allocation by a claimed size). */
export const MAX_HEADER_BYTES = 100_000_000;

/** Bytes of a side file read as text: large tokenizer.json files have about 40 MB (CWE-770, allocation without limits). */
export const MAX_TEXT_BYTES = 256_000_000;

/** Tensors of one file: a 1T-parameter mixture of experts has about 100,000 (CWE-770). */
export const MAX_TENSORS = 1_000_000;

/** Dimensions of a tensor (CWE-770). */
export const MAX_DIMENSIONS = 8;

/** Bytes of a tensor name (CWE-770). */
export const MAX_NAME_BYTES = 4096;

/** Shards named by an index (CWE-770: each is an open file). */
export const MAX_SHARDS = 4096;

/** Bytes of a GGUF header: the largest vocabularies with merges take about 20 MB (CWE-789). */
export const MAX_GGUF_HEADER_BYTES = 256_000_000;

/** Bytes of a GGUF header without its texts: what the parser we use can hold (CWE-789). */
export const MAX_GGUF_PARSED_BYTES = 48_000_000;

/** Metadata keys of a GGUF file (CWE-770). */
export const MAX_GGUF_KEYS = 100_000;

/** Bytes of a GGUF metadata key, by its specification (CWE-770). */
export const MAX_GGUF_KEY_BYTES = 65_535;

/** Bytes of one GGUF metadata string: some files hold a whole tokenizer.json in one (CWE-789). */
export const MAX_GGUF_STRING_BYTES = 64_000_000;

/** Elements of a GGUF metadata array: twice the largest vocabulary with room (CWE-770, CWE-1284 quantity not checked). */
export const MAX_GGUF_ARRAY_LENGTH = 1_000_000;

/** Alignment of GGUF tensor data; a power of two, 32 unless told (CWE-1284). */
export const MAX_GGUF_ALIGNMENT = 1 << 20;

/** Length of a vocabulary piece whose splits are tried, in UTF-16 units; SentencePiece's own default is 16 (CWE-407, quadratic work). */
export const MAX_PIECE_LENGTH = 512;

/** Bytes of the pickle inside a torch file: names and shapes of 100,000 tensors take about 20 MB (CWE-789). */
export const MAX_PICKLE_BYTES = 32_000_000;

/** Values on a pickle's stack, and values it remembers: some ten a tensor (CWE-770). */
export const MAX_PICKLE_VALUES = 4_000_000;

/** Bytes of a zip file that its directory takes: some 100 an entry, one entry a tensor (CWE-789). */
export const MAX_ZIP_DIRECTORY_BYTES = 128_000_000;
