/* The service's routes, as the page asks them: by fetch, with the token where one is needed. */

import { createContext } from "./vendor/htm-preact.js";

const TOKEN = "congrad-token";
const SILENCE_MS = 40_000; // the service says something at least every 15 s

/* A problem document in answer to a request; `status` 401 asks for a token. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? `the service answered ${status}`);
    this.status = status;
  }
}

export const Api = createContext(null);

/* `onUnauthorized(message)` is called whenever a route asks for a token. */
export function createApi(onUnauthorized) {
  const ask = async (path, accept, signal, options = {}) => {
    const token = sessionStorage.getItem(TOKEN);
    const own = token ? { Authorization: `Bearer ${token}` } : {};
    const headers = { Accept: accept, ...own, ...options.headers };
    const response = await fetch(path, { ...options, headers, signal, cache: "no-store" });
    if (response.ok) return response;
    const refused = new Refused(response.status, await response.json().catch(() => null));
    if (response.status === 401 && !signal?.aborted) onUnauthorized(refused.message); // not for a token of before
    throw refused;
  };
  return {
    text: async (path, signal) => (await ask(path, "application/json", signal)).text(),
    send: async (path, body, signal) => (await ask(path, "application/json", signal, posted(body))).json(),
    events: (path, signal, onOpen) => events(ask, path, signal, onOpen),
    hasToken: () => sessionStorage.getItem(TOKEN) !== null,
    setToken: (token) => (token ? sessionStorage.setItem(TOKEN, token) : sessionStorage.removeItem(TOKEN)),
  };
}

const posted = (body) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});

/* The server-sent events of a route: `{ event, data }` each. EventSource could not send a token. It ends with the
 * stream, and throws where that fails or falls silent. */
async function* events(ask, path, signal, onOpen) {
  const silent = new AbortController();
  let timer = setTimeout(() => silent.abort(), SILENCE_MS);
  try {
    const response = await ask(path, "text/event-stream", AbortSignal.any([signal, silent.signal]));
    onOpen();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENCE_MS);
      const blocks = (text + part.value).replaceAll("\r\n", "\n").split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const event = eventOf(block);
        if (event.data) yield event;
      }
    }
  } finally {
    clearTimeout(timer);
    silent.abort();
  }
}

function eventOf(block) {
  const fields = block
    .split("\n")
    .map((line) => line.match(/^(\w+): ?(.*)$/))
    .filter(Boolean);
  const all = (name) => fields.filter(([, field]) => field === name).map(([, , value]) => value);
  return { event: all("event").at(-1) ?? "message", data: all("data").join("\n") };
}
