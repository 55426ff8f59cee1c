/* What a route of the service answers, and what the address bar says, as hooks. */

import { useContext, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { Api } from "./api.js";

/* `{ data, error }` of a route; read again when `again` changes, with the last answer kept until the next is there. */
export function useRoute(path, again) {
  const api = useContext(Api);
  const [answer, setAnswer] = useState({ path: null });
  const reading = useRef(null);
  useEffect(() => {
    if (!path) return undefined;
    const stop = new AbortController();
    reading.current = reader(api, path, stop.signal, setAnswer);
    return () => stop.abort();
  }, [path]);
  useEffect(() => {
    if (path) reading.current();
  }, [path, again]);
  return answer.path === path ? answer : { path: null };
}

const REST_MS = 250; // between two readings, so that a busy service is not kept busy by its own page

/* A function that reads; while it does, calls ask for one more reading, however many they are. What has not changed is
 * not told again: it would be drawn again. */
function reader(api, path, signal, onAnswer) {
  let busy = false;
  let asked = false;
  let last = {};
  return async function read() {
    asked = true;
    if (busy) return;
    busy = true;
    while (asked && !signal.aborted) {
      asked = false;
      const now = await answerOf(api, path, signal, last);
      if (!signal.aborted && (now.text !== last.text || now.error !== last.error)) onAnswer(now);
      last = now;
      if (asked) await new Promise((rested) => setTimeout(rested, REST_MS));
    }
    busy = false;
  };
}

async function answerOf(api, path, signal, last) {
  try {
    const text = await api.text(path, signal);
    return { path, text, data: text === last.text ? last.data : JSON.parse(text) };
  } catch (error) {
    return error.status === 404 ? { path, error } : { ...last, path, error }; // a lost connection takes nothing away
  }
}

/* `?direction=NAME` and `?job=ID`; links to them are followed without loading the page anew. */
export function usePlace() {
  const [place, setPlace] = useState(placeNow);
  useEffect(() => {
    const changed = () => setPlace(placeNow());
    addEventListener("popstate", changed);
    return () => removeEventListener("popstate", changed);
  }, []);
  return place;
}

const placeNow = () => Object.fromEntries(new URLSearchParams(location.search));

export const placeOf = (where) => `?${new URLSearchParams(where)}`;

export function go(where) {
  history.pushState(null, "", placeOf(where));
  dispatchEvent(new PopStateEvent("popstate"));
  document.getElementById("main").focus({ preventScroll: true }); // so that a screen reader begins anew
  scrollTo(0, 0);
}

/* For links: a plain click stays on the page; one that opens another tab is the browser's. */
export const goTo = (where) => ({
  href: placeOf(where),
  onClick: (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(where);
  },
});
