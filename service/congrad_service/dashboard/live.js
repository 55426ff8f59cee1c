/* Following the service's events for as long as the page is open, across lost connections. */

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8_000;
const STEADY_MS = 5_000; // a stream that stood for less may be a proxy's that ends each at once

/* Calls `onEvent(data)` for each job event, and `onState` with `{ live: true }` or `{ live: false, since, retry }`. */
export async function follow(api, { onEvent, onState, signal }) {
  let failures = 0;
  let since = null;
  while (!signal.aborted) {
    let begun = Infinity;
    try {
      const opened = () => {
        begun = Date.now();
        since = null;
        onState({ live: true });
      };
      for await (const { data } of api.events("events", signal, opened)) onEvent(JSON.parse(data));
    } catch (error) {
      if (signal.aborted || error.status === 401) return;
    }
    if (Date.now() - begun >= STEADY_MS) failures = 0;
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures++);
    since ??= Date.now();
    onState({ live: false, since, retry: Date.now() + wait });
    await pause(wait, signal);
  }
}

/* Waits, but not once the network is back or nobody listens any more. */
function pause(ms, signal) {
  const over = new AbortController(); // takes both listeners away, however it ends
  return new Promise((done) => {
    const end = () => (clearTimeout(timer), over.abort(), done());
    const timer = setTimeout(end, ms);
    addEventListener("online", end, { signal: over.signal });
    signal.addEventListener("abort", end, { signal: over.signal });
  });
}
