import type { ChatMessage, Tokenizer } from "@subbit/core";
import { describe, expect, it } from "vitest";
import { createConversation } from "./conversation.js";

/** One token a character; bos is 1. */
function tokenizer(template: boolean): Tokenizer {
  return {
    vocabSize: 256,
    bosId: 1,
    stopIds: new Set(),
    encode: (text, options) => [
      ...(options?.addSpecialTokens === true ? [1] : []),
      ...Array.from(text, (character) => character.charCodeAt(0)),
    ],
    decode: (ids) => String.fromCharCode(...ids),
    renderChat: (messages: readonly ChatMessage[]) =>
      template ? messages.map(({ role, content }) => `<${role[0]}:${content}>`).join("") : undefined,
  };
}

const text = (ids: number[]): string => String.fromCharCode(...ids);

describe("a conversation by template", () => {
  it("keeps all turns, and the system message in front", () => {
    const conversation = createConversation(tokenizer(true), {
      maxPositions: 200,
      maxTokens: 10,
      system: "be",
    });
    expect(text(conversation.ask("a").ids)).toBe("<s:be><u:a>");
    conversation.answer("b");
    expect(text(conversation.ask("c").ids)).toBe("<s:be><u:a><a:b><u:c>");
    conversation.reset();
    expect(text(conversation.ask("d").ids)).toBe("<s:be><u:d>");
  });

  it("forgets the oldest pairs when the context is full, never the question just asked", () => {
    const conversation = createConversation(tokenizer(true), { maxPositions: 30, maxTokens: 10 });
    for (const question of ["aaa", "bbb", "ccc"]) {
      const { ids } = conversation.ask(question);
      expect(ids.length).toBeLessThanOrEqual(20);
      expect(text(ids)).toMatch(new RegExp(`^<u:.*<u:${question}>$|^<u:${question}>$`));
      conversation.answer("xxx");
    }
    expect(conversation.ask("ddd").forgotten).toBe(true);
  });
});

describe("a conversation without template", () => {
  it("continues one text", () => {
    const conversation = createConversation(tokenizer(false), { maxPositions: 100, maxTokens: 10 });
    expect(conversation.templated).toBe(false);
    expect(text(conversation.ask("Once").ids)).toBe("\u0001Once");
    conversation.answer(" upon.");
    expect(text(conversation.ask("Then").ids)).toBe("\u0001Once upon. Then");
    conversation.reset();
    expect(text(conversation.ask("New").ids)).toBe("\u0001New");
  });

  it("keeps the end of what no longer fits", () => {
    const conversation = createConversation(tokenizer(false), { maxPositions: 20, maxTokens: 5 });
    const { ids, forgotten } = conversation.ask("0123456789abcdefghij");
    expect(forgotten).toBe(true);
    expect(text(ids)).toBe("56789abcdefghij");
  });

  it("refuses a system message", () => {
    expect(() =>
      createConversation(tokenizer(false), { maxPositions: 20, maxTokens: 5, system: "x" }),
    ).toThrow(/template/);
  });
});
