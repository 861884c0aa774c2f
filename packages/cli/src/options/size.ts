/** What decides the size and kind of a compressed model: options of `compress`. */
import { readFile } from "node:fs/promises";
import { inputError } from "@subbit/core";
import type { PlanOptions } from "@subbit/compress";
import {
  type Allocation,
  type BitsFormula,
  type EmbedBits,
  type EmbedMethod,
  type Init,
  INIT_NAMES,
  type Method,
  METHOD_NAMES,
} from "@subbit/compress/choices";
import { Option, type Command } from "commander";
import { byteSize, integer, number, oneOf } from "./parse.js";

/** Ranks of envelopes that mdbf was published with. */
export const ENVELOPES = [1, 2, 4, 8, 16] as const;
export const SCALE_BITS = [16, 8] as const;
const EMBED_BITS = [16, 8, 4, 2] as const satisfies readonly EmbedBits[];
export const SCHEDULES = ["tuned", "official"] as const;

export interface SizeOptions {
  readonly method: Method | "auto";
  readonly init?: Init;
  readonly schedule?: (typeof SCHEDULES)[number];
  readonly bpw?: number;
  readonly bytes?: number;
  readonly bitsFormula: BitsFormula;
  readonly paths?: number;
  readonly envelope?: number;
  readonly scaleBits?: 16 | 8;
  readonly kvFactor?: number;
  readonly keepFirst?: number;
  readonly keepLast?: number;
  readonly embedBits?: EmbedBits;
  readonly embedMethod?: EmbedMethod;
  readonly embedBpw?: number;
  readonly allocate?: Allocation;
  readonly allocateForms?: string;
  readonly plan?: string;
}

export function addSizeOptions(command: Command): Command {
  return addFormOptions(command)
    .addOption(
      new Option(
        "--bpw <x>",
        "bits per weight of the linears, everything stored counted (default: 0.8; onebit: what it costs)",
      )
        .argParser(number({ above: 0, max: 16 }))
        .conflicts("bytes"),
    )
    .addOption(new Option("--bytes <size>", "size of the weight file, such as 30MB").argParser(byteSize))
    .addOption(
      new Option(
        "--bits-formula <formula>",
        "whose arithmetic sizes the ranks: every stored bit, or the method's paper",
      )
        .choices(["honest", "paper"])
        .default("honest"),
    )
    .addOption(
      new Option(
        "--allocate <how>",
        "ranks: uniform, the same bits per weight everywhere; loss: where they lower the loss most, as measured on the calibration text (default: loss for auto, else uniform)",
      ).choices(["uniform", "loss"]),
    )
    .option(
      "--allocate-forms <list>",
      "paths x envelope that an allocation by loss chooses from, such as 1x1,2x1,1x2",
    )
    .option("--plan <file>", "every linear's rank and form, as --plan-out writes them")
    .option("--kv-factor <x>", "multiplies the rank of k and v (default: 1)", number({ above: 0, max: 64 }))
    .option(
      "--keep-first <n>",
      "blocks at the start that stay dense (default: 0)",
      integer({ min: 0, max: 10_000 }),
    )
    .option(
      "--keep-last <n>",
      "blocks at the end that stay dense (default: 0)",
      integer({ min: 0, max: 10_000 }),
    )
    .addOption(
      new Option(
        "--embed-bits <bits>",
        "bits of a value of the embedding and the head (default: 16)",
      ).argParser(oneOf(EMBED_BITS)),
    )
    .addOption(
      new Option(
        "--embed-method <how>",
        "embedding and head: rows of integers or halves (default), or factored into signs",
      ).choices(["rows", "factored"]),
    )
    .addOption(
      new Option(
        "--embed-bpw <x>",
        "bits per weight of a factored embedding and head (default: 1)",
      ).argParser(number({ above: 0, max: 16 })),
    );
}

/** Options of `factorise`, too: the form of one linear and how it is found. */
export function addFormOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--method <method>", "format of the linears; auto: the best measured one")
        .choices(["auto", ...METHOD_NAMES])
        .default("auto"),
    )
    .addOption(
      new Option("--init <init>", "how a factorisation starts (default: the method's own)").choices(
        INIT_NAMES,
      ),
    )
    .addOption(
      new Option(
        "--schedule <schedule>",
        "iterations of a factorisation: tuned (default), or those of the papers' own code",
      ).choices(SCHEDULES),
    )
    .option(
      "--paths <n>",
      "paths of a factored linear (default: the method's own)",
      integer({ min: 1, max: 8 }),
    )
    .addOption(
      new Option(
        "--envelope <l>",
        `rank of the magnitude envelopes, ${ENVELOPES.join(", ")} (default: the method's own)`,
      ).argParser(oneOf(ENVELOPES)),
    )
    .addOption(
      new Option(
        "--scale-bits <bits>",
        "bits of a stored scale, 16 or 8 (default: the method's own)",
      ).argParser(oneOf(SCALE_BITS)),
    );
}

/** As the library takes them; reads the plan file. */
export async function planOptions(options: SizeOptions): Promise<PlanOptions> {
  const { parseForms, parsePlanFile } = await import("@subbit/compress");
  const { method, init, schedule, bpw, bytes, bitsFormula, paths, envelope, scaleBits } = options;
  const { kvFactor, keepFirst, keepLast, embedBits, embedMethod, embedBpw, allocate } = options;
  return {
    method,
    bitsFormula,
    ...(init !== undefined && { init }),
    ...(schedule !== undefined && { schedule }),
    ...(bpw !== undefined && { bpw }),
    ...(bytes !== undefined && { bytes }),
    ...(paths !== undefined && { paths }),
    ...(envelope !== undefined && { envelope }),
    ...(scaleBits !== undefined && { scaleBits }),
    ...(kvFactor !== undefined && { kvFactor }),
    ...(keepFirst !== undefined && { keepFirst }),
    ...(keepLast !== undefined && { keepLast }),
    ...(embedBits !== undefined && { embedBits }),
    ...(embedMethod !== undefined && { embedMethod }),
    ...(embedBpw !== undefined && { embedBpw }),
    ...(allocate !== undefined && { allocate }),
    ...(options.allocateForms !== undefined && { allocateForms: parseForms(options.allocateForms) }),
    ...(options.plan !== undefined && { plan: parsePlanFile(await planText(options.plan), options.plan) }),
  };
}

/** A plan has a line or two a linear; nothing larger is one. */
const LARGEST_PLAN_BYTES = 64e6;

async function planText(path: string): Promise<string> {
  const bytes = await readFile(path);
  if (bytes.length > LARGEST_PLAN_BYTES) {
    throw inputError(`${path} has ${bytes.length} bytes, which is no plan; give what --plan-out wrote.`);
  }
  return bytes.toString("utf8");
}
