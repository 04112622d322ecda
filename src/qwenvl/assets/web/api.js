/** What the page asks of the server, and what can go wrong with it. */

import { events } from "./sse.js";

const KEY = "qwenvl-key";

/** @typedef {"gone" | "broken" | "loading" | "busy" | "tooLarge" | "refused" | "failed" | "needKey"} Kind */

/** Something that a person is told; `after` is in seconds, `message` the server's own words. */
export class Problem extends Error {
  /** @param {Kind} kind @param {string} [message] @param {number} [after] */
  constructor(kind, message = "", after = 0) {
    super(message);
    this.kind = kind;
    this.after = after;
  }
}

/** The key lasts as long as the tab; it is asked for when the server wants one. */
export function setKey(key) {
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    kept = key;
  }
}

let kept = "";

function headers() {
  let key = kept;
  try {
    key = sessionStorage.getItem(KEY) || kept;
  } catch {
    // no storage in this window
  }
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

/** Addresses are relative, so that the page also works below a path of another server. */
async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(), cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("gone");
  }
  if (!response.ok) throw await problem(response);
  return response;
}

const KINDS = { 401: "needKey", 403: "needKey", 413: "tooLarge", 429: "busy", 503: "loading" };

/** @param {Response} response */
async function problem(response) {
  const { status } = response;
  const after = Number(response.headers.get("Retry-After")) || 0;
  let message;
  let code;
  try {
    ({ message, code } = (await response.json()).error);
  } catch {
    // Not in the API's form: a proxy before a server that is not there, or nothing at all.
    if (status === 502 || status === 504) return new Problem("gone");
    message = `${status} ${response.statusText}`;
  }
  if (code === "failed") return new Problem("failed", message); // it will not be ready, however long one waits
  return new Problem(KINDS[status] ?? (status < 500 ? "refused" : "failed"), message, after);
}

/** Whether the server takes questions: resolves, or rejects with a `Problem` of kind "loading" or "gone". */
export async function ready() {
  await ask("ready");
}

/** @returns {Promise<string>} the model's name */
export async function model() {
  const list = await (await ask("v1/models")).json();
  return list.data[0].id;
}

/** @returns {Promise<{picture: string, en: string, zh: string}[]>} */
export async function examples() {
  return (await ask("web/examples.json")).json();
}

/**
 * Ask for an answer and hand on what comes. Rejects with a `Problem`, or with AbortError when stopped.
 * @param {object} body of `/v1/chat/completions`, without `stream`
 * @param {AbortSignal} signal
 * @param {(delta: {content?: string, regions?: import("./marks.js").Region[], text?: string}) => void} take
 * @returns {Promise<{reason: string, tokens: number | null}>}
 */
export async function complete(body, signal, take) {
  const asked = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await ask("v1/chat/completions", { method: "POST", body: JSON.stringify(asked), signal });
  let reason = "";
  let tokens = null;
  try {
    for await (const data of events(response.body)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Problem("failed", String(chunk.error.message ?? ""));
      tokens = chunk.usage?.completion_tokens ?? tokens;
      const choice = chunk.choices?.[0];
      if (!choice) continue;
      if (choice.delta) take(choice.delta);
      reason = choice.finish_reason ?? reason;
    }
  } catch (error) {
    if (error instanceof Problem || error.name === "AbortError") throw error;
    throw new Problem("broken");
  }
  // A stream that merely ends was cut off on its way.
  if (!reason) throw new Problem("broken");
  return { reason, tokens };
}
