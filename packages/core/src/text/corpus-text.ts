/**
 * What a text file means before any tokenizer sees it: rows of a data set, one plain text, or documents.
 * The three readings and their defaults are the "Texts" section of the command line's contract; perplexities are
 * comparable only between runs that read a file the same way.
 */
import { inputError, SubbitError } from "../errors.js";

/**
 * - `rows`: the GPTQ protocol for WikiText-like files: rows joined by two newlines
 * - `plain`: the file as it stands
 * - `documents`: independent texts, an end-of-text token before each and after the last
 */
export type TextFormat = "rows" | "plain" | "documents";

export const TEXT_FORMATS: readonly TextFormat[] = ["rows", "plain", "documents"];

export interface TextFormatRequest {
  readonly fileName: string;
  readonly text: string;
  /** The tokenizer's end-of-text tokens as text, most likely separator first. */
  readonly endTexts: readonly string[];
  readonly format?: TextFormat | undefined;
  readonly separator?: string | undefined;
  /** Field of a JSON record that holds its text. @default "text" */
  readonly textColumn?: string | undefined;
}

/** How a file is read, with everything decided. */
export interface TextReading {
  readonly format: TextFormat;
  /** Documents only: what stands between two of them; absent where each line is a JSON record. */
  readonly separator?: string;
  /** One JSON object a line with its text in a field. */
  readonly jsonLines: boolean;
  /** That field. @default DEFAULT_TEXT_COLUMN */
  readonly textColumn?: string;
}

/** Where data sets of one text a row have it. */
export const DEFAULT_TEXT_COLUMN = "text";

/** `.json` inside a compressed file means JSON lines too: that is how C4 is published. */
const JSON_LINES = /\.jsonl(\.gz|\.zst)?$|\.json(\.gz|\.zst)$/i;
const RAW_ROWS = /\.raw(\.gz|\.zst)?$/i;

/** The contract's defaults by explicit format, then separator, then extension, then content. */
export function chooseTextFormat(request: TextFormatRequest): TextReading {
  const { fileName, text, endTexts, format, separator } = request;
  const jsonLines = JSON_LINES.test(fileName) && (format ?? "documents") === "documents";
  if (separator !== undefined) {
    if (separator === "")
      throw new SubbitError(
        "usage",
        "The document separator is empty; give the text that stands between documents.",
      );
    if (format !== undefined && format !== "documents") {
      throw new SubbitError(
        "usage",
        `A separator was given for the text format ${format}, but only documents are separated; drop one of the two.`,
      );
    }
    if (jsonLines) {
      throw new SubbitError(
        "usage",
        `A separator was given for ${fileName}, but in a file of JSON lines each line is a document; drop the separator.`,
      );
    }
    return { format: "documents", separator, jsonLines: false };
  }
  if (jsonLines) {
    const { textColumn } = request;
    return { format: "documents", jsonLines: true, ...(textColumn !== undefined && { textColumn }) };
  }
  const found = endTexts.find((end) => text.includes(end));
  const chosen = format ?? (RAW_ROWS.test(fileName) ? "rows" : found === undefined ? "plain" : "documents");
  if (chosen !== "documents") return { format: chosen, jsonLines: false };
  return found === undefined
    ? { format: "documents", jsonLines: false }
    : { format: "documents", separator: found, jsonLines: false };
}

/**
 * The text of the GPTQ protocol: each line with its newline is a row, a blank row becomes "", rows are joined by two
 * newlines, so a line of text is followed by three newlines. This is how the data set library gives WikiText.
 */
export function joinRows(text: string): string {
  const lines = text.split("\n");
  // A newline that ends the file starts no further row.
  const last = lines.pop() ?? "";
  const rows = lines.map((line) => (line.trim() === "" ? "" : `${line}\n`));
  if (last !== "") rows.push(last.trim() === "" ? "" : last);
  return rows.join("\n\n");
}

/** Trimmed documents; empty ones are dropped. */
export function splitDocuments(text: string, reading: TextReading, fileName: string): string[] {
  const parts = reading.jsonLines
    ? parseJsonLines(text, fileName, reading.textColumn ?? DEFAULT_TEXT_COLUMN)
    : reading.separator === undefined
      ? [text]
      : text.split(reading.separator);
  return parts.map((part) => part.trim()).filter((part) => part !== "");
}

function parseJsonLines(text: string, fileName: string, column: string): string[] {
  const documents: string[] = [];
  let number = 0;
  for (const line of text.split("\n")) {
    number++;
    if (line.trim() === "") continue;
    let record: unknown;
    try {
      record = JSON.parse(line);
    } catch (cause) {
      throw inputError(
        `Line ${number} of ${fileName} is not JSON; each line must be one object with its text in "${column}".`,
        {
          cause,
        },
      );
    }
    const value =
      typeof record === "object" && record !== null && Object.hasOwn(record, column)
        ? (record as Record<string, unknown>)[column]
        : undefined;
    if (typeof value !== "string") {
      throw inputError(
        `Line ${number} of ${fileName} has no string field "${column}"; each line must be one object with its text in "${column}".`,
      );
    }
    documents.push(value);
  }
  return documents;
}
