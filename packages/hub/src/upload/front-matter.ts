/** The head of a model card that the Hub reads: YAML between two lines of dashes. */

export interface FrontMatter {
  readonly tags: readonly string[];
  /** `org/name` of the teacher on the Hub. */
  readonly baseModel?: string | undefined;
  /** An identifier of the Hub's list, such as `apache-2.0`. */
  readonly license?: string | undefined;
}

/** The card with a head; one that has a head already stays as it is. */
export function withFrontMatter(card: string, { tags, baseModel, license }: FrontMatter): string {
  if (/^\uFEFF?---\s*$/m.test(card.split("\n", 1)[0])) return card;
  const lines = [
    "---",
    "library_name: subbit",
    "pipeline_tag: text-generation",
    // A JSON string is a YAML string, whatever stands in it.
    ...(license === undefined ? [] : [`license: ${JSON.stringify(license)}`]),
    ...(baseModel === undefined ? [] : [`base_model: ${JSON.stringify(baseModel)}`]),
    "tags:",
    ...tags.map((tag) => `  - ${JSON.stringify(tag)}`),
    "---",
    "",
  ];
  return `${lines.join("\n")}\n${card}`;
}
