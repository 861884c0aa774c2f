/** Tables of a model card, in Markdown. */

export type CardRow = readonly [name: string, value: string];

export function table(left: string, right: string, rows: readonly CardRow[]): string[] {
  return [
    `| ${left} | ${right} |`,
    "| --- | --- |",
    ...rows.map(([name, value]) => `| ${name} | ${value} |`),
  ];
}

/** Thousands separated. */
export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** Nested figures by dotted names; lists (of windows and the like) are left to the manifest. */
export function flatten(values: Record<string, unknown>, prefix = ""): CardRow[] {
  return Object.entries(values).flatMap(([name, value]): CardRow[] => {
    if (typeof value === "number") {
      return [[prefix + name, Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(6)))]];
    }
    if (typeof value === "string") return [[prefix + name, value.replaceAll("|", "\\|")]];
    if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
    return flatten(value as Record<string, unknown>, `${prefix}${name}.`);
  });
}
