/* Following the service's events for as long as the page is open, across lost connections. */

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8_000;

/* Calls `onEvent(data)` for each job event, and `onState` with `{ live: true }` or `{ live: false, since, retry }`. */
export async function follow(api, { onEvent, onState, signal }) {
  let failures = 0;
  let since = null;
  while (!signal.aborted) {
    try {
      const opened = () => {
        failures = 0;
        since = null;
        onState({ live: true });
      };
      for await (const { data } of api.events("events", signal, opened)) onEvent(JSON.parse(data));
    } catch (error) {
      if (signal.aborted || error.status === 401) return;
    }
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures++);
    since ??= Date.now();
    onState({ live: false, since, retry: Date.now() + wait });
    await pause(wait, signal);
  }
}

/* Waits, but not once the network is back or nobody listens any more. */
function pause(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    addEventListener("online", done, { once: true, signal });
    signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });
}
