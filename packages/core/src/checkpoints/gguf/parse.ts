/** A GGUF header, parsed by @huggingface/gguf from ranges of a byte source and checked against the file. */
import type { MetadataValue } from "@huggingface/gguf";
import { inputError } from "../../errors.js";
import { elementCount } from "../shapes.js";
import type { ByteSource } from "../types.js";
import { BLOCK_TYPES, type BlockType } from "./block-types.js";
import { walkGgufHeader } from "./header-walk.js";

export type { MetadataValue };
export type Metadata = ReadonlyMap<string, MetadataValue>;

export interface GgufTensor {
  readonly name: string;
  /** Row-major, slowest dimension first (the reverse of the file's order). */
  readonly shape: readonly number[];
  readonly typeId: number;
  /** `undefined` for types that are not read (IQ*, TQ* ...). */
  readonly type?: BlockType;
  /** From the start of the file. */
  readonly offset: number;
  /** 0 where the type is not known. */
  readonly bytes: number;
}

export interface GgufHeader {
  readonly metadata: Metadata;
  /** In the order of their bytes. */
  readonly tensors: readonly GgufTensor[];
}

/** The parser's step (its HTTP_CHUNK_SIZE): it asks for ranges of this length. */
const PARSER_STEP_BYTES = 2_000_000;

/** Reads and checks the header. Throws `input` for every malformed one. */
export async function parseGguf(source: ByteSource): Promise<GgufHeader> {
  const walk = await walkGgufHeader(source);
  // Loaded only where a GGUF file is opened: a page that runs packed models does not have to carry the parser.
  const { gguf } = await import("@huggingface/gguf");
  const parsing = gguf("https://local.invalid/model.gguf", { fetch: rangeFetch(walk.short) });
  const parsed = await parsing.catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw inputError(`${source.name} could not be parsed as GGUF (${reason.slice(0, 200)}).`, { cause });
  });
  if (!parsed.littleEndian || parsed.tensorInfoByteRange[1] !== walk.short.length) {
    throw inputError(
      `Two readings of the header of ${source.name} disagree about its length; the file is damaged.`,
    );
  }
  // A Map: keys come from the file, and an object would take "__proto__" for something else (CWE-1321).
  const metadata = new Map(Object.entries(parsed.metadata as Record<string, MetadataValue>));
  for (const [key, value] of walk.taken) metadata.set(key, value);
  const dataBegin = Math.ceil(walk.headerBytes / walk.alignment) * walk.alignment;
  const tensors = parsed.tensorInfos.map((info) =>
    checkTensor(info.name, info.shape, info.dtype, info.offset, dataBegin, walk.alignment, source),
  );
  return { metadata, tensors: checkExtents(tensors, source) };
}

/** The parser asks for byte ranges by HTTP; this answers from the shortened header. */
function rangeFetch(header: Uint8Array): typeof fetch {
  return (_input, init) => {
    const range = new Headers(init?.headers).get("range");
    const begin = Number(/^bytes=(\d+)-/.exec(range ?? "")?.[1]);
    return Promise.resolve(new Response(header.slice(begin, begin + PARSER_STEP_BYTES), { status: 206 }));
  };
}

function checkTensor(
  name: string,
  dimensions: readonly bigint[],
  typeId: number,
  offset: bigint,
  dataBegin: number,
  alignment: number,
  source: ByteSource,
): GgufTensor {
  const shown = JSON.stringify(name.slice(0, 100));
  const shape = dimensions.map(Number).reverse();
  const count = elementCount(shape);
  if (count === undefined || name.length === 0) {
    throw inputError(`Tensor ${shown} of ${source.name} has the impossible shape [${shape.join(", ")}].`);
  }
  const at = dataBegin + Number(offset);
  if (at > source.sizeBytes || Number(offset) % alignment !== 0) {
    throw inputError(
      `Tensor ${shown} of ${source.name} begins at byte ${at}, which is ${at > source.sizeBytes ? "beyond the end of the file" : `not aligned to ${alignment}`}; the file is truncated or damaged, fetch it again.`,
    );
  }
  const type = BLOCK_TYPES.get(typeId);
  if (type === undefined) return { name, shape, typeId, offset: at, bytes: 0 };
  if ((shape.at(-1) ?? 1) % type.elements !== 0) {
    throw inputError(
      `Tensor ${shown} of ${source.name} has rows of ${shape.at(-1)} elements, which are not whole ${type.dtype} blocks of ${type.elements}.`,
    );
  }
  const bytes = (count / type.elements) * type.bytes;
  if (at + bytes > source.sizeBytes) {
    throw inputError(
      `Tensor ${shown} of ${source.name} ends at byte ${at + bytes}, but the file has ${source.sizeBytes} bytes; it is truncated or damaged, fetch it again.`,
    );
  }
  return { name, shape, typeId, type, offset: at, bytes };
}

/** In the order of their bytes, after a check that no two share a name or a byte. */
function checkExtents(tensors: readonly GgufTensor[], source: ByteSource): GgufTensor[] {
  const ordered = [...tensors].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  const names = new Set<string>();
  let end = 0;
  for (const tensor of ordered) {
    const shown = JSON.stringify(tensor.name.slice(0, 100));
    if (names.has(tensor.name)) throw inputError(`${source.name} has two tensors named ${shown}.`);
    names.add(tensor.name);
    if (tensor.offset < end)
      throw inputError(`Tensor ${shown} of ${source.name} overlaps the one before it; the file is damaged.`);
    end = tensor.offset + tensor.bytes;
  }
  return ordered;
}
