export * from "./node/read-corpus.js";
