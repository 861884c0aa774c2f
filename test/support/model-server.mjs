/**
 * A server of models on this machine, for tests and benches: a plain file server with ranges, the parts of the Hugging Face Hub's
 * interface that listing, downloading and uploading use, and faults on demand. Contents may be generated, so that a checkpoint of
 * 140 GB costs nothing to serve.
 */
import { createHash } from "node:crypto";
import { createServer } from "node:http";

/** Sent at once. */
const CHUNK_BYTES = 64 * 1024;
/** Files from this size on are kept outside of git by the Hub. */
const LARGE_BYTES = 2000;
/** Entries of a page of a listing. */
const PAGE = 3;

const hash = (algorithm, ...parts) =>
  parts.reduce((h, part) => h.update(part), createHash(algorithm)).digest("hex");

/** The one commit of a repository. */
export const commitOf = (repo) => hash("sha1", repo);

const bytesOf = (file) => file.bytes ?? file.byteLength;
const contentOf = (file, offset, length) =>
  file.subarray !== undefined ? file.subarray(offset, offset + length) : file.at(offset, length);

export async function startModelServer({ repos = {}, folders = {}, fault = () => undefined, token }) {
  const state = { requests: [], bytesSent: 0, pushed: new Map(), stored: new Map() };
  const server = createServer((request, response) => {
    handle({ repos, folders, fault, token, state, server }, request, response).catch(() =>
      response.destroy(),
    );
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: urlOf(server),
    requests: state.requests,
    get bytesSent() {
      return state.bytesSent;
    },
    pushed: state.pushed,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const urlOf = (server) => `http://127.0.0.1:${server.address().port}`;

async function handle(context, request, response) {
  const { repos, folders, token, state } = context;
  const path = decodeURIComponent(new URL(request.url, "http://here").pathname);
  const { range, authorization } = request.headers;
  const seen = { method: request.method, path, range, authorization };
  state.requests.push(seen);
  if (request.method !== "GET") return receive(context, path, request, response);

  const plain = /^\/plain\/(.+)\/([^/]+)$/.exec(path);
  const stored = /^\/store\/([^/]+\/[^/]+)\/([^/]+)$/.exec(path);
  if (plain !== null) return sendFile(context, seen, folders[plain[1]]?.[plain[2]], response, true);
  if (stored !== null) return sendFile(context, seen, repos[stored[1]]?.[stored[2]], response, false);

  const match = /^\/(?:api\/models\/)?([^/]+\/[^/]+)\/(revision|tree|resolve)\/([^/]+)(?:\/([^/]+))?$/.exec(
    path,
  );
  const files = match === null ? undefined : repos[match[1]];
  if (token !== undefined && authorization !== `Bearer ${token}`)
    return sendJson(response, 401, { error: "Unauthorized" });
  if (files === undefined) return sendJson(response, 404, { error: "Repository not found" });
  const [, repo, kind, revision, name] = match;
  if (revision !== "main" && revision !== commitOf(repo))
    return sendJson(response, 404, { error: "Invalid rev id" });
  if (kind === "revision") {
    return sendJson(response, 200, {
      _id: "1",
      id: repo,
      sha: commitOf(repo),
      private: false,
      lastModified: "2026-01-01",
    });
  }
  if (kind === "tree") return sendTree(context, request, repo, files, response);
  // As the Hub does: large files come from another place.
  response.writeHead(302, { location: `/store/${repo}/${encodeURIComponent(name)}` });
  response.end();
}

function sendJson(response, status, value, headers = {}) {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(value));
}

function sendTree({ server }, request, repo, files, response) {
  const names = Object.keys(files).sort();
  const from = Number(new URL(request.url, "http://here").searchParams.get("cursor") ?? 0);
  const entries = names.slice(from, from + PAGE).map((path) => entryOf(path, files[path]));
  const next = `${urlOf(server)}/api/models/${repo}/tree/${commitOf(repo)}?cursor=${from + PAGE}`;
  sendJson(response, 200, entries, from + PAGE < names.length ? { link: `<${next}>; rel="next"` } : {});
}

function entryOf(path, file) {
  const size = bytesOf(file);
  if (size < LARGE_BYTES) {
    const content = contentOf(file, 0, size);
    return { type: "file", path, size, oid: hash("sha1", `blob ${size}\0`, content) };
  }
  const oid = file.sha256 ?? hash("sha256", contentOf(file, 0, size));
  return { type: "file", path, size, oid: hash("sha1", path), lfs: { oid, size, pointerSize: 134 } };
}

async function sendFile({ fault, state }, seen, file, response, withEtag) {
  if (file === undefined) return sendJson(response, 404, { error: "Entry not found" });
  const wrong = fault(seen);
  const kind = wrong?.kind;
  if (kind === "status") return sendJson(response, wrong.status, { error: "on demand" });
  if (kind === "slow") await new Promise((resolve) => setTimeout(resolve, wrong.milliseconds));
  const bytes = bytesOf(file);
  const match =
    kind === "whole" || kind === "no-length" ? null : /^bytes=(\d+)-(\d+)$/.exec(seen.range ?? "");
  let begin = match === null ? 0 : Number(match[1]);
  let end = match === null ? bytes : Math.min(bytes, Number(match[2]) + 1);
  if (match !== null && begin >= bytes) {
    response.writeHead(416, { "content-range": `bytes */${bytes}` });
    return void response.end();
  }
  if (kind === "shift" && end < bytes) [begin, end] = [begin + 1, end + 1];
  if (kind === "longer") end = Math.min(bytes, end + 1000);
  if (kind === "shorter" && match !== null) end = Math.max(begin + 1, end - 700);
  const total = kind === "other-size" ? bytes + 1 : bytes;
  response.writeHead(match === null ? 200 : 206, {
    "content-type": "application/octet-stream",
    ...(kind !== "gzip" && kind !== "no-length" && { "content-length": end - begin }),
    ...(match !== null && { "content-range": `bytes ${begin}-${end - 1}/${total}` }),
    ...(withEtag && { etag: `"${bytes}"` }),
    ...(kind === "gzip" && { "content-encoding": "br" }),
  });
  const stopAt = kind === "cut" || kind === "stall" ? begin + wrong.after : Infinity;
  const damaged = kind === "corrupt" ? begin + Math.floor((end - begin) / 2) : -1;
  for (let at = begin; at < end && !response.destroyed;) {
    const length = Math.min(CHUNK_BYTES, end - at, stopAt - at);
    if (length <= 0) break;
    let chunk = contentOf(file, at, length);
    if (damaged >= at && damaged < at + length) {
      chunk = Uint8Array.from(chunk);
      chunk[damaged - at] ^= 1;
    }
    state.bytesSent += length;
    at += length;
    if (response.write(chunk)) continue;
    await new Promise((resolve) => {
      const go = () => {
        response.off("drain", go).off("close", go);
        resolve();
      };
      response.on("drain", go).on("close", go);
    });
  }
  if (kind === "cut") return void response.destroy();
  if (kind !== "stall") response.end();
}

/** What @huggingface/hub sends when it commits: questions first, large files to their places, then the commit. */
async function receive({ token, state, server }, path, request, response) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  const large = /^\/lfs\/([0-9a-f]{64})$/.exec(path);
  if (large !== null) {
    if (request.headers.authorization !== undefined)
      return sendJson(response, 400, { error: "a store wants no token" });
    if (hash("sha256", body) !== large[1]) return sendJson(response, 400, { error: "wrong hash" });
    state.stored.set(large[1], body);
    return void response.writeHead(200).end();
  }
  if (token !== undefined && request.headers.authorization !== `Bearer ${token}`) {
    return sendJson(response, 403, { error: "Forbidden" });
  }
  if (path === "/api/repos/create") {
    const { name, organization } = JSON.parse(body);
    const repo = `${organization}/${name}`;
    if (state.pushed.has(repo))
      return sendJson(response, 409, { error: "You already created this model repo" });
    state.pushed.set(repo, new Map());
    return sendJson(response, 200, { url: `${urlOf(server)}/${repo}`, id: repo });
  }
  const repo = /^\/(?:api\/models\/)?([^/]+\/[^/]+?)(?:\.git)?\//.exec(path)?.[1];
  const files = state.pushed.get(repo);
  if (files === undefined) return sendJson(response, 404, { error: "Repository not found" });
  if (path.includes("/preupload/")) {
    const asked = JSON.parse(body).files;
    const answer = asked.map(({ path, size }) => ({
      path,
      uploadMode: size < LARGE_BYTES ? "regular" : "lfs",
    }));
    return sendJson(response, 200, { files: answer });
  }
  if (path.endsWith("/info/lfs/objects/batch")) {
    const objects = JSON.parse(body).objects.map(({ oid, size }) => {
      const upload = { href: `${urlOf(server)}/lfs/${oid}` };
      return { oid, size, ...(!state.stored.has(oid) && { actions: { upload } }) };
    });
    return sendJson(response, 200, { transfer: "basic", objects });
  }
  if (path.includes("/commit/")) {
    for (const line of body.toString().split("\n")) {
      const { key, value } = JSON.parse(line);
      if (key === "file") files.set(value.path, Buffer.from(value.content, "base64"));
      if (key === "lfsFile") files.set(value.path, state.stored.get(value.oid));
    }
    return sendJson(response, 200, {
      success: true,
      commitOid: commitOf(repo),
      commitUrl: `${urlOf(server)}/${repo}`,
      hookOutput: "",
    });
  }
  return sendJson(response, 404, { error: "no such thing" });
}
