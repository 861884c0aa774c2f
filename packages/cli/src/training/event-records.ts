/**
 * TensorBoard's event files: TFRecord framing (length, masked CRC32C, bytes, masked CRC32C) around Event messages in
 * protobuf encoding, here scalars only. Sources: tensorflow/core/lib/io/record_writer.h, core/util/event.proto,
 * core/framework/summary.proto; CRC32C is Castagnoli's polynomial (RFC 3720, appendix B.4).
 */

/** 0x1edc6f41 with its bits reversed, as the byte-wise algorithm wants it. */
const CASTAGNOLI = 0x82f63b78;
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ CASTAGNOLI : crc >>> 1;
  return crc;
});

export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** A checksum of bytes that hold their own checksum is weak, so TFRecord files turn and shift it. */
export function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

const LENGTH_BYTES = 8;
const CRC_BYTES = 4;
const HEAD_BYTES = LENGTH_BYTES + CRC_BYTES;

export function frameRecord(message: Uint8Array): Buffer {
  const record = Buffer.alloc(HEAD_BYTES + message.length + CRC_BYTES);
  record.writeBigUInt64LE(BigInt(message.length), 0);
  record.writeUInt32LE(maskedCrc(record.subarray(0, LENGTH_BYTES)), LENGTH_BYTES);
  record.set(message, HEAD_BYTES);
  record.writeUInt32LE(maskedCrc(message), HEAD_BYTES + message.length);
  return record;
}

export interface Unframed {
  /** Views into the file. */
  readonly messages: readonly Buffer[];
  /** Bytes up to the first record that is cut off or damaged. */
  readonly soundBytes: number;
}

/** The records at the beginning of a file that are whole and match their checksums. */
export function unframeRecords(file: Buffer): Unframed {
  const messages: Buffer[] = [];
  let at = 0;
  while (file.length - at >= HEAD_BYTES + CRC_BYTES) {
    const head = file.subarray(at, at + LENGTH_BYTES);
    if (file.readUInt32LE(at + LENGTH_BYTES) !== maskedCrc(head)) break;
    const length = Number(head.readBigUInt64LE());
    const end = at + HEAD_BYTES + length + CRC_BYTES;
    if (end > file.length) break;
    const message = file.subarray(at + HEAD_BYTES, end - CRC_BYTES);
    if (file.readUInt32LE(end - CRC_BYTES) !== maskedCrc(message)) break;
    messages.push(message);
    at = end;
  }
  return { messages, soundBytes: at };
}

const VARINT = 0;
const FIXED_64 = 1;
const BYTES = 2;
const FIXED_32 = 5;

function key(field: number, wire: number): Buffer {
  return varint((field << 3) | wire);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let left = BigInt(value);
  for (; left > 127n; left >>= 7n) bytes.push(Number(left & 127n) | 128);
  return Buffer.from([...bytes, Number(left)]);
}

function lengthDelimited(field: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([key(field, BYTES), varint(bytes.length), bytes]);
}

function wallTime(seconds: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(seconds);
  return Buffer.concat([key(1, FIXED_64), bytes]);
}

/** The first record of every file; readers refuse a version that they do not know. */
export function encodeVersion(seconds: number): Buffer {
  return Buffer.concat([wallTime(seconds), lengthDelimited(3, Buffer.from("brain.Event:2"))]);
}

/** An Event with one scalar a tag. `seconds` since 1970. */
export function encodeScalars(
  step: number,
  seconds: number,
  scalars: Readonly<Record<string, number>>,
): Buffer {
  const values = Object.entries(scalars).map(([tag, scalar]) => {
    const bytes = Buffer.alloc(4);
    bytes.writeFloatLE(scalar);
    return lengthDelimited(1, Buffer.concat([lengthDelimited(1, Buffer.from(tag)), key(2, FIXED_32), bytes]));
  });
  return Buffer.concat([
    wallTime(seconds),
    key(2, VARINT),
    varint(step),
    lengthDelimited(5, Buffer.concat(values)),
  ]);
}

/** Step and tags of an Event that `encodeScalars` made; undefined for any other message. */
export function readStep(message: Buffer): { step: number; tags: string[] } | undefined {
  const fields = readFields(message);
  const step = fields?.find(({ field }) => field === 2)?.number;
  const summary = fields?.find(({ field }) => field === 5)?.bytes;
  if (step === undefined || summary === undefined) return undefined;
  const values = readFields(summary)?.flatMap(({ bytes }) => (bytes ? [readFields(bytes)] : []));
  const tags = values?.map((value) => value?.find(({ field }) => field === 1)?.bytes?.toString("utf8"));
  if (tags === undefined || tags.includes(undefined)) return undefined;
  return { step, tags: tags.filter((tag) => tag !== undefined) };
}

interface Field {
  readonly field: number;
  readonly number?: number;
  readonly bytes?: Buffer;
}

function readFields(message: Buffer): Field[] | undefined {
  const fields: Field[] = [];
  let at = 0;
  const readVarint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = message[at++] ?? 255;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
      if (shift > 63) return NaN;
    }
  };
  while (at < message.length) {
    const start = readVarint();
    const [field, wire] = [Math.floor(start / 8), start % 8];
    if (wire === VARINT) fields.push({ field, number: readVarint() });
    else if (wire === FIXED_64) at += 8;
    else if (wire === FIXED_32) at += 4;
    else if (wire === BYTES) {
      const length = readVarint();
      fields.push({ field, bytes: message.subarray(at, at + length) });
      at += length;
    } else return undefined;
    if (!(at <= message.length)) return undefined;
  }
  return fields;
}
