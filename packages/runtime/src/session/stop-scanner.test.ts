import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StopScanner } from "./stop-scanner.js";

function scan(stops: string[], pieces: string[]): { shown: string[]; stopped: boolean } {
  const scanner = new StopScanner(stops);
  const shown = pieces.map((piece) => scanner.push(piece));
  return { shown: [...shown, scanner.flush()], stopped: scanner.stopped };
}

describe("StopScanner", () => {
  it("holds back what may begin a stop string and gives it out when it does not", () => {
    expect(scan(["<end>"], ["one <e", "ne", "d> <en", "d!"]).shown).toEqual([
      "one ",
      "<ene",
      "d> ",
      "<end!",
      "",
    ]);
  });

  it("stops at the first stop string, wherever the pieces are cut", () => {
    const text = "abcSTOPdefEND";
    for (let cut = 0; cut <= text.length; cut++) {
      const { shown, stopped } = scan(["END", "STOP"], [text.slice(0, cut), text.slice(cut)]);
      expect(shown.join("")).toBe("abc");
      expect(stopped).toBe(true);
    }
  });

  it("never shows any part of a stop string and loses nothing before it", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 30 });
    const stops = fc.array(fc.string({ unit: fc.constantFrom("a", "b"), minLength: 2, maxLength: 5 }), {
      maxLength: 3,
    });
    fc.assert(
      fc.property(letters, stops, fc.array(fc.nat(30), { maxLength: 5 }), (text, list, cuts) => {
        const at = [0, ...cuts.map((cut) => Math.min(cut, text.length)).sort((a, b) => a - b), text.length];
        const { shown, stopped } = scan(
          list,
          at.slice(1).map((end, i) => text.slice(at[i], end)),
        );
        // The stop string that ends first wins; among those that end together the longest.
        let want = text;
        let found = false;
        for (let end = 1; end <= text.length && !found; end++) {
          const hits = list.filter((stop) => text.slice(0, end).endsWith(stop));
          if (hits.length > 0) {
            found = true;
            want = text.slice(0, end - Math.max(...hits.map((stop) => stop.length)));
          }
        }
        expect(stopped).toBe(found);
        if (!found) expect(shown.join("")).toBe(text);
        else {
          // A long piece may hold a stop string that begins earlier but ends later: nothing of it may show either.
          expect(want.startsWith(shown.join(""))).toBe(true);
        }
      }),
    );
  });
});
