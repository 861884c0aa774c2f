/** Damaged checkpoints in official layouts: one sentence that names the tensor, before or when it is read. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { encodeSafetensors, type TensorToWrite } from "../../src/checkpoints/safetensors/encode.js";
import type { Checkpoint } from "../../src/checkpoints/types.js";
import type { PlainDtype } from "../../src/checkpoints/dtypes.js";
import { openModel } from "../../src/model/open-model.js";
import { LINEAR_ROLES } from "../../src/model/spec.js";
import { openCheckpointAt } from "../../src/node/open-checkpoint-at.js";
import { openFolder } from "../planned-folders.js";

const LAYOUTS = join(import.meta.dirname, "..", "data", "layouts");
const Q = "model.layers.0.self_attn.q_proj";

interface Edited {
  tensors: TensorToWrite[];
  config: Record<string, unknown>;
}

async function tensorsOf(checkpoint: Checkpoint): Promise<TensorToWrite[]> {
  const tensors: TensorToWrite[] = [];
  for (const { name, dtype, shape } of checkpoint.tensors.values())
    tensors.push({ name, dtype: dtype as PlainDtype, shape, data: (await checkpoint.readRaw(name)).slice() });
  return tensors;
}

/** Opens an edited copy and reads every linear of it. */
async function openEdited(layout: string, edit: (folder: Edited) => void): Promise<void> {
  const checkpoint = await openCheckpointAt(join(LAYOUTS, layout));
  const folder: Edited = { tensors: await tensorsOf(checkpoint), config: { ...checkpoint.config } };
  await checkpoint.close();
  edit(folder);
  const files = new Map([
    ["model.safetensors", await encodeSafetensors(folder.tensors)],
    ["config.json", new TextEncoder().encode(JSON.stringify(folder.config))],
  ]);
  const model = await openModel(await openFolder(files));
  for (let layer = 0; layer < model.spec.layers; layer++)
    for (const role of LINEAR_ROLES) await model.linear({ layer, role });
}

const dataOf = (folder: Edited, name: string): Uint8Array =>
  folder.tensors.find((tensor) => tensor.name === name)!.data as Uint8Array;
const without = (folder: Edited, name: string): void => {
  folder.tensors = folder.tensors.filter((tensor) => tensor.name !== name);
};
const replace = (folder: Edited, name: string, change: (tensor: TensorToWrite) => TensorToWrite): void => {
  folder.tensors = folder.tensors.map((tensor) => (tensor.name === name ? change(tensor) : tensor));
};
/** bfloat16 infinity and half infinity, little-endian. */
const BF16_INFINITY = [0x80, 0x7f];
const F16_INFINITY = [0x00, 0x7c];

describe("an edited checkpoint", () => {
  it.each(["littlebit-single", "dbf-finetuned", "mdbf-p1-l4"])(
    "%s opens where nothing was changed",
    async (layout) => {
      await openEdited(layout, () => undefined);
    },
  );

  const COMPILED = Q.replace("model.", "model._orig_mod.");
  const cases: readonly (readonly [string, string, (folder: Edited) => void, RegExp])[] = [
    [
      "LittleBit without one half of the signs",
      "littlebit-single",
      (f) => without(f, `${Q}.V_packed`),
      /rank nothing/,
    ],
    ["LittleBit without a scale", "littlebit-single", (f) => without(f, `${Q}.u1`), /no tensor .*u1/],
    ["LittleBit of another width", "littlebit-single", (f) => (f.config["hidden_size"] = 96), /config/],
    [
      "LittleBit with signs of another dtype",
      "littlebit-single",
      (f) => replace(f, `${Q}.U_packed`, (t) => ({ ...t, dtype: "F32" })),
      /U_packed .* is F32/,
    ],
    [
      "LittleBit with set padding",
      "littlebit-single",
      (f) => (dataOf(f, `${Q}.U_packed`)[3] |= 0x80),
      /padding/,
    ],
    [
      "LittleBit with an infinite scale",
      "littlebit-single",
      (f) => dataOf(f, `${Q}.v2`).set(BF16_INFINITY, 4),
      /v2 .* not finite/,
    ],
    [
      "LittleBit of one more block than its config",
      "littlebit-single",
      (f) => (f.config["num_hidden_layers"] = 1),
      /num_hidden_layers = 1/,
    ],
    ["DBF without a middle scale", "dbf-finetuned", (f) => without(f, `${COMPILED}.1.w`), /rank nothing/],
    [
      "DBF with a middle scale of another rank",
      "dbf-finetuned",
      (f) => replace(f, `${COMPILED}.1.w`, (t) => ({ ...t, shape: [40], data: new Uint8Array(80) })),
      /0\.bp .* is U8/,
    ],
    [
      "DBF with one tensor under both names",
      "dbf-finetuned",
      (f) =>
        f.tensors.push({ name: "model.norm.weight", dtype: "BF16", shape: [64], data: new Uint8Array(128) }),
      /same one under two names/,
    ],
    [
      "DBF without a block's linear",
      "dbf-finetuned",
      (f) => without(f, `${COMPILED}.0.bp`),
      /no tensor .*weight/,
    ],
    ["MDBF without its amplitudes", "mdbf-p1-l4", (f) => without(f, `${Q}.paths.0.Q_U_amp`), /rank nothing/],
    [
      "MDBF with amplitudes of another envelope",
      "mdbf-p1-l4",
      (f) => replace(f, `${Q}.paths.0.A_amp`, (t) => ({ ...t, shape: [t.shape[0] * 2, t.shape[1] / 2] })),
      /A_amp .* \[64, 4\] was expected/,
    ],
    [
      "MDBF with an infinite amplitude",
      "mdbf-p1-l4",
      (f) => dataOf(f, `${Q}.paths.0.B_amp`).set(F16_INFINITY, 0),
      /B_amp .* not finite/,
    ],
    [
      "MDBF with too few signs",
      "mdbf-p1-l4",
      (f) => replace(f, `${Q}.paths.0.A_sign_packed`, (t) => ({ ...t, shape: [1], data: new Uint8Array(1) })),
      /A_sign_packed/,
    ],
  ];
  it.each(cases)("%s", async (_, layout, edit, reason) => {
    await expect(openEdited(layout, edit)).rejects.toThrow(reason);
    await expect(openEdited(layout, edit)).rejects.toMatchObject({ code: "input" });
  });
});
