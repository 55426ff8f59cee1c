/* The page: a direction or a job, and what is true of the service beside them, kept up to date by its events. */

import { html, render, useEffect, useMemo, useRef, useState } from "./vendor/htm-preact.js";
import { Api, createApi } from "./api.js";
import { Direction } from "./direction.js";
import { Job } from "./job.js";
import { Jobs, hasEnded } from "./jobs.js";
import { follow } from "./live.js";
import { Empty, Problem, useTitle } from "./parts.js";
import { go, goTo, usePlace, useRoute } from "./routes.js";
import { clock } from "./say.js";
import { Theme } from "./theme-button.js";
import { TokenForm } from "./token-form.js";
import { Workers } from "./workers.js";

const BEAT_MS = 5_000; // how often what no event tells of is read: workers and the queue

function App() {
  const [refused, setRefused] = useState(null);
  const [session, setSession] = useState(0);
  const api = useMemo(() => createApi(setRefused), []);
  const enter = (token) => {
    api.setToken(token);
    setRefused(null);
    setSession((n) => n + 1);
  };
  return html`
    <${Api.Provider} value=${api}>
      ${
        refused !== null
          ? html`<${Frame} state=${{}}><${TokenForm} message=${refused} onToken=${enter} /><//>`
          : html`<${Page} key=${session} api=${api} onForget=${() => enter(null)} />`
      }
    <//>
  `;
}

function Page({ api, onForget }) {
  const place = usePlace();
  const { state, moved, ended, beat, catchUp } = useLive(api);
  const { data: queue, error: trouble } = useRoute("queue", `${moved} ${beat}`);
  const wasInTrouble = useRef(false);
  useEffect(() => {
    if (wasInTrouble.current && !trouble) catchUp();
    wasInTrouble.current = Boolean(trouble);
  }, [trouble]);
  return html`
    <${Frame} state=${{ ...state, trouble }} links=${linksOf(place, api)} onForget=${api.hasToken() ? onForget : null}>
      ${
        place.job
          ? html`<${Job} key=${place.job} id=${place.job} again=${moved} />`
          : html`
            <${Directions} chosen=${place.direction} again=${ended} />
            <${Jobs} again=${moved} />
            <${Workers} queue=${queue} again=${`${moved} ${beat}`} />
          `
      }
    <//>
  `;
}

/* To the parts of the overview; and to the documentation, which a browser can only open where no token is needed. */
const linksOf = (place, api) => ({
  ...(place.job ? {} : { "#jobs": "Jobs", "#workers": "Workers" }),
  ...(api.hasToken() ? {} : { docs: "API" }),
});

/* Counters of what was heard: `moved` of any job, `ended` of those that ended, `beat` of the clock. */
function useLive(api) {
  const [state, setState] = useState({});
  const [moved, setMoved] = useState(0);
  const [ended, setEnded] = useState(0);
  const [beat, setBeat] = useState(0);
  const catchUp = () => {
    setMoved((n) => n + 1);
    setEnded((n) => n + 1);
  };
  useEffect(() => {
    const stop = new AbortController();
    let wasLost = false;
    const onState = (now) => {
      if (now.live && wasLost) catchUp();
      wasLost = !now.live;
      setState(now);
    };
    const onEvent = (job) => {
      setMoved((n) => n + 1);
      if (hasEnded(job)) setEnded((n) => n + 1);
    };
    follow(api, { onEvent, onState, signal: stop.signal });
    const timer = setInterval(() => setBeat((n) => n + 1), BEAT_MS);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, []);
  return { state, moved, ended, beat, catchUp };
}

const Frame = ({ state, links = {}, onForget, children }) => html`
  <a class="skip" href="#main">Skip to the content</a>
  <header class="bar">
    <a class="brand" ...${goTo({})}>CONGRAD</a>
    <nav aria-label="Main">
      ${Object.entries(links).map(([href, name]) => html`<a key=${href} href=${href}>${name}</a>`)}
    </nav>
    <${Connection} state=${state} />
    ${onForget ? html`<button class="quiet" onClick=${onForget}>Forget token</button>` : null}
    <${Theme} />
  </header>
  <main id="main" tabindex="-1">${children}</main>
`;

/* One line in place, said once to screen readers when it changes. A service can be reached and know nothing, for what it
 * asks is away: then its events come to a halt, and only the answers to the page's own questions tell. */
const Connection = ({ state: { live, since, trouble } }) => {
  const [look, words] =
    live === false
      ? ["lost", `Connection lost at ${clock(since)}; trying again`]
      : trouble
        ? ["lost", `Not up to date: ${trouble.message}; trying again`]
        : live
          ? ["live", "Live"]
          : ["", ""];
  return html`<p class=${`connection ${look}`} role="status">${words}</p>`;
};

/* The direction that is looked at: the one asked for, else the one with the most samples. */
function Directions({ chosen, again }) {
  const { data: directions, error } = useRoute("directions", again);
  const largest = useRef(); // stays the same while others grow
  largest.current ??= d3.greatest(directions ?? [], ({ languages }) => d3.sum(Object.values(languages)))?.name;
  const name = chosen ?? largest.current;
  useTitle(name ?? (directions ? "No direction yet" : "Directions"));
  if (name === undefined && directions) return html`<${NoDirection} />`;
  if (name === undefined) return error ? html`<${Problem} error=${error} />` : html`<div class="waiting"></div>`;
  const names = (directions ?? []).map((direction) => direction.name);
  return html`
    <div class="title">
      <p class="over" id="direction-label">Direction</p>
      <${Chooser} names=${names.includes(name) ? names : [name, ...names]} name=${name} />
    </div>
    <${Direction} key=${name} name=${name} again=${again} />
  `;
}

const NoDirection = () => html`
  <div class="title"><h1>No direction yet</h1></div>
  <${Empty} title="The first pairs make one">
    <p>A direction is what the languages agree on, learned from the pairs that are sent.</p>
    <pre>congrad filter pairs.jsonl -o kept.jsonl --url ${new URL(".", document.baseURI).href.replace(/\/$/, "")}</pre>
  <//>
`;

const Chooser = ({ names, name }) => {
  const choose = (event) => go({ direction: event.currentTarget.value });
  return html`
    <h1 class="unseen">Direction ${name}</h1>
    <span class="choose">
      <select class="chooser" aria-labelledby="direction-label" value=${name} onChange=${choose}>
        ${names.map((other) => html`<option key=${other} value=${other}>${other}</option>`)}
      </select>
    </span>
  `;
};

render(html`<${App} />`, document.body);
