/**
 * String methods of Python that the tasks' rules are written in, where JavaScript's differ.
 * White space is that of `str.isspace`: with the separators U+001C to U+001F and U+0085, without U+FEFF.
 */

const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const LEADING = new RegExp(`^[${SPACE}]+`);
const IS_SPACE = new RegExp(`[${SPACE}]`);

/** `str.strip()` */
export function strip(text: string): string {
  return text.slice(0, text.length - trailingSpaces(text)).replace(LEADING, "");
}

/** How many characters at the end are white space; all of it lies in single UTF-16 units. */
export function trailingSpaces(text: string): number {
  let end = text.length;
  while (end > 0 && IS_SPACE.test(text[end - 1])) end--;
  return text.length - end;
}

/** `len(str)`: code points, not UTF-16 units. */
export function codePoints(text: string): number {
  return Array.from(text).length;
}

/** `str.capitalize()`: the first character in title case, all others in lower case. */
export function capitalize(text: string): string {
  const first = text.codePointAt(0);
  if (first === undefined) return "";
  const head = String.fromCodePoint(first);
  // Lower case of the whole text, so that a final sigma is seen as such.
  return titleCase(head) + text.toLowerCase().slice(head.toLowerCase().length);
}

/** Letters of two, whose title case has one capital. */
const DIGRAPHS = ["ǅ", "ǈ", "ǋ", "ǲ"];
const IOTA_BELOW = "\u0345";
const GEORGIAN = /^[\u10d0-\u10ff]$/;

/** Title case of one character by Unicode's tables, which JavaScript has for upper case only. */
function titleCase(character: string): string {
  const digraph = DIGRAPHS.find((one) => one.toLowerCase() === character.toLowerCase());
  if (digraph !== undefined) return digraph;
  // Georgian has capitals for whole words only.
  if (GEORGIAN.test(character)) return character;
  const parts = character.normalize("NFD");
  if (parts.length > 1 && parts.includes(IOTA_BELOW)) {
    const capital = parts.replace(IOTA_BELOW, "").toUpperCase().normalize("NFC");
    return codePoints(capital) > 1 ? capital + IOTA_BELOW : (capital + IOTA_BELOW).normalize("NFC");
  }
  let seen = false;
  return Array.from(character.toUpperCase(), (part) => {
    if (seen) return part.toLowerCase();
    seen = part.toLowerCase() !== part;
    return part;
  }).join("");
}
