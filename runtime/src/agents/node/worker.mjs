// Loads a user's Node agent and answers calls for it, inside the sandbox.
//
// Descriptor 3 is a socket to posternd. Each frame on it is four bytes of length, big-endian, and that much JSON:
//
//     in   {"call": {"id": 7, "run": "run_...", "request": {...}}}
//     in   {"cancel": {"id": 7}}                                                 nobody waits for this call any more
//     out  {"ready": {"found": "handler"}}  or  {"failed": {"error": "..."}}     first, once
//     out  {"heard": {"id": 7}}                                                  to a cancel: this worker is not stuck
//     out  {"said": {"id": 7, "text": "..."}}                                    a piece of the answer, as it comes
//     out  {"printed": {"id": 7, "stream": "stdout", "text": "..."}}             a line that this call printed
//     out  {"returned": {"id": 7, "json": "{...}"}}                              an object, as a text of JSON
//     out  {"returned": {"id": 7, "text": "..."}}                                anything else, as String() says it
//     out  {"raised": {"id": 7, "error": "TypeError: ..."}}
//
// Only what Node 18 and later bring is used. Nothing here is trusted by the other end: this process runs the user's code,
// which can do whatever this file can.

import { AsyncLocalStorage } from "node:async_hooks";
import http from "node:http";
import { syncBuiltinESMExports } from "node:module";
import net from "node:net";
import path from "node:path";
import { pathToFileURL } from "node:url";

const FRAME_BYTES_MAX = 8 * 1024 * 1024;
const ERROR_CHARS_MAX = 2000;
const PRINTED_CHARS_MAX = 4096;
const GATE = "127.127.0.1:4180";

const currentRun = new AsyncLocalStorage();

// --- frames -----------------------------------------------------------------------------------------------------------

class Channel {
  constructor(socket, heard) {
    this.socket = socket;
    this.pending = Buffer.alloc(0);
    socket.on("data", (bytes) => this.take(bytes, heard));
    socket.on("end", () => process.exit(0));
    socket.on("error", () => process.exit(0));
  }

  take(bytes, heard) {
    this.pending = Buffer.concat([this.pending, bytes]);
    while (this.pending.length >= 4) {
      const end = 4 + this.pending.readUInt32BE(0);
      if (this.pending.length < end) return;
      const frame = JSON.parse(this.pending.toString("utf8", 4, end));
      this.pending = this.pending.subarray(end);
      heard(frame);
    }
  }

  // Resolves once the other end takes more: an agent that says more than is read waits.
  send(frame) {
    const body = Buffer.from(written(frame));
    if (body.length > FRAME_BYTES_MAX) {
      throw new RangeError(`a result of ${body.length} bytes is over the limit of ${FRAME_BYTES_MAX}`);
    }
    const head = Buffer.alloc(4);
    head.writeUInt32BE(body.length);
    if (this.socket.write(Buffer.concat([head, body]))) return undefined;
    return new Promise((resolve) => this.socket.once("drain", resolve));
  }
}

// JSON whose texts are well-formed: half a surrogate pair becomes U+FFFD, as the other end takes none.
function written(value) {
  return JSON.stringify(value, (_, part) => (typeof part === "string" ? Buffer.from(part).toString() : part));
}

// --- finding what to call ---------------------------------------------------------------------------------------------

async function load(entry, directory) {
  const module = await import(pathToFileURL(path.join(directory, entry)).href);
  const candidates = [
    ["handler", module.handler],
    ["default", module.default],
    // What a CommonJS module exports comes as its default.
    ["handler", module.default?.handler],
    ["default", module.default?.default],
    ["main", module.main ?? module.default?.main],
  ];
  const found = candidates.find(([, value]) => typeof value === "function");
  if (!found) throw new Error(`${entry} exports none of handler, default, main`);
  return found;
}

function contextOf(request, signal) {
  const names = (process.env.TOOL_NAMES ?? "").split(",").filter(Boolean);
  const variable = (name) => "TOOL_URL_" + name.toUpperCase().replace(/[^A-Z0-9]/g, "_");
  const keys = ["history", "request_id", "run_id", "user_id", "resume"].filter((key) => key in request);
  return {
    tools: Object.fromEntries(names.map((name) => [name, process.env[variable(name)] ?? ""])),
    llm_url: process.env.LLM_GATEWAY_URL ?? "",
    model: process.env.LLM_MODEL ?? "",
    system_prompt: process.env.SYSTEM_PROMPT ?? "",
    session: {
      ...Object.fromEntries(keys.map((key) => [key, request[key]])),
      ...(request.resume ? { action_id: request.resume.action_id } : {}),
    },
    // Aborted when nobody waits for the answer any more.
    signal,
  };
}

// --- answering a call -------------------------------------------------------------------------------------------------

const unwanted = new Map();

async function answer(channel, handler, { id, run, request }) {
  const abort = new AbortController();
  unwanted.set(id, abort);
  let frame;
  try {
    const context = contextOf(request, abort.signal);
    const work = currentRun.run({ id, run }, async () => settle(await handler(request, context), channel, id, abort.signal));
    frame = returned(id, await Promise.race([work, aborted(abort.signal)]));
  } catch (error) {
    if (!abort.signal.aborted) currentRun.run({ id, run }, () => console.error(error));
    frame = { raised: { id, error: abort.signal.aborted ? "cancelled" : told(error) } };
  } finally {
    unwanted.delete(id);
    tellRest(id);
  }
  try {
    channel.send(frame);
  } catch (error) {
    channel.send({ raised: { id, error: told(error) } });
  }
}

function aborted(signal) {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("cancelled"))));
}

// Says what comes piece by piece: a text at once, and so the `delta` of a content event; another object is the result. What a
// generator returns stands first, then an object that it yielded, then its text.
async function settle(value, channel, id, signal) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const iterate = value[Symbol.asyncIterator] ?? value[Symbol.iterator];
  if (typeof iterate !== "function") return value;
  const iterator = iterate.call(value);
  const texts = [];
  let object;
  for (;;) {
    const { done, value: piece } = signal.aborted ? {} : await iterator.next();
    if (signal.aborted) {
      await iterator.return?.();
      return undefined;
    }
    if (done) return piece ?? object ?? texts.join("");
    const delta = piece?.type === "content" && typeof piece.delta === "string" ? piece.delta : piece;
    if (delta !== null && typeof delta === "object" && !Array.isArray(delta)) {
      object = delta;
    } else if (delta !== undefined && String(delta) !== "") {
      texts.push(String(delta));
      await channel.send({ said: { id, text: String(delta) } });
    }
  }
}

// What is no JSON to the other end fails this call alone: it is written before it goes into a frame.
function returned(id, value) {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) {
    return { returned: { id, json: written(value) ?? "null" } };
  }
  const text = Array.isArray(value) ? written(value) : String(value ?? "");
  return { returned: { id, text } };
}

function told(error) {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return text.slice(-ERROR_CHARS_MAX);
}

// --- telling what a call prints ---------------------------------------------------------------------------------------

const begun = new Map();

// A call's lines are told with the call; what no call prints that goes on stays where it went before.
function watchPrints() {
  for (const name of ["stdout", "stderr"]) {
    const write = process[name].write;
    process[name].write = function (chunk, encoding, done) {
      const id = currentRun.getStore()?.id;
      if (!unwanted.has(id)) return write.call(this, chunk, encoding, done);
      const text = typeof chunk === "string" ? chunk : Buffer.from(chunk).toString();
      const lines = ((begun.get(id)?.[name] ?? "") + text).split("\n");
      const rest = lines.at(-1).length > PRINTED_CHARS_MAX ? "" : lines.pop();
      begun.set(id, { ...begun.get(id), [name]: rest });
      lines.forEach((line) => tellLine(id, name, line));
      const called = typeof encoding === "function" ? encoding : done;
      if (called) process.nextTick(called);
      return true;
    };
  }
}

function tellLine(id, stream, line) {
  for (let start = 0; start === 0 || start < line.length; start += PRINTED_CHARS_MAX) {
    channel.send({ printed: { id, stream, text: line.slice(start, start + PRINTED_CHARS_MAX) } });
  }
}

function tellRest(id) {
  for (const [name, rest] of Object.entries(begun.get(id) ?? {})) if (rest) tellLine(id, name, rest);
  begun.delete(id);
}

// --- telling the gate which run a request belongs to ------------------------------------------------------------------

// Adds X-Run-ID to what goes to the gate and to nothing else. Known are fetch, and node:http, and so what is built on them.
function markRequests() {
  const fetch = globalThis.fetch;
  globalThis.fetch = function (input, init) {
    const run = currentRun.getStore()?.run;
    if (!run || !goesToGate(input instanceof Request ? input.url : String(input))) return fetch(input, init);
    const request = new Request(input, init);
    if (!request.headers.has("x-run-id")) request.headers.set("x-run-id", run);
    return fetch(request);
  };
  const request = http.request;
  const marked = (...given) => {
    const made = request(...given);
    const run = currentRun.getStore()?.run;
    if (run && !made.headersSent && made.getHeader("host") === GATE && !made.hasHeader("x-run-id")) {
      made.setHeader("X-Run-ID", run);
    }
    return made;
  };
  http.request = marked;
  http.get = (...given) => {
    const made = marked(...given);
    made.end();
    return made;
  };
  syncBuiltinESMExports();
}

function goesToGate(url) {
  try {
    return new URL(url).host === GATE;
  } catch {
    return false;
  }
}

// --- the worker itself ------------------------------------------------------------------------------------------------

const waiting = [];
let heard = (frame) => waiting.push(frame);
const channel = new Channel(new net.Socket({ fd: 3, readable: true, writable: true }), (frame) => heard(frame));
process.on("unhandledRejection", (error) => console.error(error));
markRequests();
watchPrints();
try {
  const [found, handler] = await load(process.env.USER_ENTRY_POINT, process.env.RUNAGENTS_USER_CODE_DIR);
  await channel.send({ ready: { found } });
  heard = (frame) => {
    if (frame.call) void answer(channel, handler, frame.call);
    else if (frame.cancel) {
      unwanted.get(frame.cancel.id)?.abort();
      channel.send({ heard: { id: frame.cancel.id } });
    }
  };
  waiting.splice(0).forEach((frame) => heard(frame));
} catch (error) {
  console.error(error);
  channel.send({ failed: { error: told(error) } });
  channel.socket.end(() => process.exit(1));
}
