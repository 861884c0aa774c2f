/**
 * Where `@huggingface/tokenizers` 0.2.0 differs from the reference implementation in Rust, put right on its objects:
 *
 * - Digits and byte-level splitting use JavaScript's `\d` and `\s`, the reference Unicode's numeric classes and
 *   White_Space (which has U+0085 and lacks U+FEFF).
 * - Byte fallback decodes with a lenient decoder and swallows a byte order mark; the reference keeps the mark, and gives
 *   one U+FFFD a byte for a run of bytes that is not UTF-8.
 * - Byte-level decoding drops characters that stand for no byte; the reference takes their UTF-8.
 */
import { HubTokenizer } from "./hub-libraries.js";

/** GPT-2's splitting, with Unicode's White_Space. */
const BYTE_LEVEL_SPLIT =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

type DecodeChain = (tokens: readonly string[]) => string[];

/** The parts of the library's objects that are replaced; they are plain properties of its instances. */
interface Stage {
  readonly config?: { readonly type?: string; readonly individual_digits?: boolean };
  readonly tokenizers?: readonly (Stage | null)[];
  readonly decoders?: readonly (Stage | null)[];
  pattern?: RegExp;
  decode_chain?: DecodeChain;
  readonly byte_decoder?: Readonly<Record<string, number | string>>;
}

/** The library's tokenizer, corrected. Throws whatever the library throws on a malformed definition. */
export function createHubTokenizer(definition: object): HubTokenizer {
  // Cleaning up spaces would make decoding depend on tokenizer_config.json; text must come back as it was generated.
  const tokenizer = new HubTokenizer(definition, { clean_up_tokenization_spaces: false });
  const stages = tokenizer as unknown as { pre_tokenizer: Stage | null; decoder: Stage | null };
  correctPreTokenizer(stages.pre_tokenizer);
  correctDecoder(stages.decoder);
  return tokenizer;
}

function correctPreTokenizer(stage: Stage | null): void {
  if (stage === null) return;
  stage.tokenizers?.forEach(correctPreTokenizer);
  if (stage.config?.type === "ByteLevel") stage.pattern = BYTE_LEVEL_SPLIT;
  if (stage.config?.type === "Digits") {
    stage.pattern = stage.config.individual_digits === true ? /\P{N}+|\p{N}/gu : /\P{N}+|\p{N}+/gu;
  }
}

function correctDecoder(stage: Stage | null): void {
  if (stage === null) return;
  stage.decoders?.forEach(correctDecoder);
  if (stage.config?.type === "ByteFallback") stage.decode_chain = decodeByteFallback;
  if (stage.config?.type === "ByteLevel" && stage.byte_decoder !== undefined) {
    stage.decode_chain = byteLevelDecoder(stage.byte_decoder);
  }
}

/** `<0xNN>` tokens become text, run by run. */
function decodeByteFallback(tokens: readonly string[]): string[] {
  const decoded: string[] = [];
  let run: number[] = [];
  const endRun = (): void => {
    if (run.length === 0) return;
    try {
      decoded.push(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(run)));
    } catch {
      decoded.push("\ufffd".repeat(run.length));
    }
    run = [];
  };
  for (const token of tokens) {
    if (/^<0x[0-9A-Fa-f]{2}>$/.test(token)) {
      run.push(Number.parseInt(token.slice(3, 5), 16));
    } else {
      endRun();
      decoded.push(token);
    }
  }
  endRun();
  return decoded;
}

/** Joins the bytes of all tokens and decodes them at once; a token with a character that stands for no byte is plain text. */
function byteLevelDecoder(table: Readonly<Record<string, number | string>>): DecodeChain {
  const byteOf = new Map(Object.entries(table).map(([char, byte]) => [char, Number(byte)]));
  const encoder = new TextEncoder();
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return (tokens) => {
    const bytes: number[] = [];
    for (const token of tokens) {
      const own = Array.from(token, (char) => byteOf.get(char));
      for (const byte of own.includes(undefined) ? encoder.encode(token) : (own as number[]))
        bytes.push(byte);
    }
    return [decoder.decode(Uint8Array.from(bytes))];
  };
}
