/** Multiple-choice tasks: rows to requests, requests to tokens, tokens to log-likelihoods, those to figures. */
export type { ChoiceRequest, ChoiceRow, TaskDefinition, TaskRow } from "./types.js";
export { TASKS } from "./registry.js";
export { customTask } from "./custom.js";
export { readTaskRows, type RowRange } from "./read-rows.js";
export { prepareTask, scoreTask, type PreparedTask, type ScoreStore } from "./score-rows.js";
export { summariseTask, type LogLikelihoods, type RowScore, type TaskReport } from "./metrics.js";
