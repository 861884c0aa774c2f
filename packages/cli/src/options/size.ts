/** What decides the size and kind of a compressed model: options of `compress`. */
import type { PlanOptions } from "@subbit/compress";
import { Option, type Command } from "commander";
import { byteSize, integer, number } from "./parse.js";

export interface SizeOptions {
  readonly method: "auto" | "dbf" | "nanoquant" | "littlebit";
  readonly init?: "admm" | "dual-svid";
  readonly bpw?: number;
  readonly bytes?: number;
  readonly bitsFormula: "honest" | "paper";
  readonly paths?: number;
  readonly kvFactor?: number;
  readonly keepFirst?: number;
  readonly keepLast?: number;
  readonly embedBits: "16" | "8" | "4";
}

export function addSizeOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--method <method>", "how linears are factored; auto: the best measured one for the size")
        .choices(["auto", "dbf", "nanoquant", "littlebit"])
        .default("auto"),
    )
    .addOption(
      new Option("--init <init>", "how a factorisation starts (default: the method's own)").choices([
        "admm",
        "dual-svid",
      ]),
    )
    .addOption(
      new Option("--bpw <x>", "bits per weight of the linears, everything stored counted (default: 0.8)")
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
    .option(
      "--paths <n>",
      "paths of a factored linear (default: the method's own)",
      integer({ min: 1, max: 8 }),
    )
    .addOption(new Option("--envelope <l>", "rank of the magnitude envelopes").choices(["1"]).default("1"))
    .addOption(new Option("--scale-bits <bits>", "bits of a stored scale").choices(["16"]).default("16"))
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
      new Option("--embed-bits <bits>", "bits of a value of the embedding and the head")
        .choices(["16", "8", "4"])
        .default("16"),
    );
}

export function planOptions(options: SizeOptions): PlanOptions {
  const { method, init, bpw, bytes, bitsFormula, paths, kvFactor, keepFirst, keepLast, embedBits } = options;
  return {
    method,
    bitsFormula,
    embedBits: embedBits === "16" ? 16 : embedBits === "8" ? 8 : 4,
    ...(init !== undefined && { init }),
    ...(bpw !== undefined && { bpw }),
    ...(bytes !== undefined && { bytes }),
    ...(paths !== undefined && { paths }),
    ...(kvFactor !== undefined && { kvFactor }),
    ...(keepFirst !== undefined && { keepFirst }),
    ...(keepLast !== undefined && { keepLast }),
  };
}
