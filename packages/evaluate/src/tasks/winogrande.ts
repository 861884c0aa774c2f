/**
 * WinoGrande (Sakaguchi et al. 2019) by partial evaluation: each option takes the gap's place, and the rest of the sentence
 * after it is scored, never the option itself (Trinh & Le 2018). acc only.
 */
import { z } from "zod";
import { DELIMITER } from "./choices.js";
import { strip } from "./python-text.js";
import type { TaskDefinition } from "./types.js";

const GAP = "_";

export const winogrande: TaskDefinition = {
  name: "winogrande",
  row: z
    .object({
      sentence: z.string().includes(GAP, { error: `there is no gap (${GAP})` }),
      option1: z.string(),
      option2: z.string(),
      answer: z.enum(["1", "2"], { error: 'not "1" or "2"' }),
    })
    .transform(({ sentence, option1, option2, answer }) => {
      const gap = sentence.indexOf(GAP);
      const continuation = DELIMITER + strip(sentence.slice(gap + GAP.length));
      return {
        requests: [option1, option2].map((option) => ({
          context: sentence.slice(0, gap) + option,
          continuation,
        })),
        gold: Number(answer) - 1,
      };
    }),
};
