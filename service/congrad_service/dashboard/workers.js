/* Who does the work, and what waits for it. */

import { html } from "./vendor/htm-preact.js";
import { Ago, Empty, Figure, Scroll, Section } from "./parts.js";
import { useRoute } from "./routes.js";
import { bytes, count, percent, plural, seconds } from "./say.js";

export function Workers({ queue, again }) {
  const { data: workers } = useRoute("workers", again);
  return html`
    <${Section} id="workers" title="Workers and queue" hint=${workers ? said(workers) : ""}>
      ${queue ? html`<${Queue} queue=${queue} />` : null}
      ${
        workers && !workers.some((worker) => worker.role === "gradients")
          ? html`<${Empty} title="No worker takes gradients, so jobs wait">
            <p>Start one where the checkpoint is, on the same Redis:</p>
            <pre>CONGRAD_MODEL=PATH python -m congrad_worker gradients</pre>
          <//>`
          : null
      }
      ${workers?.length ? html`<${List} workers=${workers} />` : null}
    <//>
  `;
}

function said(workers) {
  if (!workers.length) return "No worker is live.";
  const busy = workers.filter((worker) => worker.busy).length;
  const asleep = workers.filter((worker) => worker.asleep && !worker.busy).length;
  return `${plural(workers.length, "worker")}, ${busy || "none"} busy${asleep ? `, ${asleep} asleep` : ""}.`;
}

const Queue = ({ queue }) => html`
  <dl class="figures small">
    <${Figure} label="Unfinished jobs" value=${count(queue.active)} note=${`of at most ${count(queue.limit)}`} />
    <${Figure}
      label="Oldest"
      value=${queue.oldest_s === null ? "–" : seconds(queue.oldest_s)}
      note="since it was sent"
    />
    ${queue.checkpoints.map(
      ({ checkpoint, fingerprint, tasks }) => html`
      <${Figure} key=${fingerprint} label="Chunks waiting" value=${count(tasks)} note=${`for ${checkpoint}`} />
    `,
    )}
    <${Figure} label="Decisions waiting" value=${count(queue.decide)} note="for a decide worker" />
  </dl>
`;

const List = ({ workers }) => html`
  <${Scroll} label="Table of workers">
    <table class="workers">
      <caption class="unseen">Live workers</caption>
      <thead>
        <tr>
          <th scope="col">Worker</th>
          <th scope="col">Now</th>
          <th scope="col">Role</th>
          <th scope="col">Checkpoint</th>
          <th scope="col">Device</th>
          <th scope="col">Memory</th>
          <th scope="col" class="n">Tokens/s</th>
          <th scope="col" class="n">Tasks</th>
          <th scope="col" class="n">Started</th>
          <th scope="col" class="n">Seen</th>
        </tr>
      </thead>
      <tbody>${workers.map((worker) => html`<${Row} key=${worker.id} worker=${worker} />`)}</tbody>
    </table>
  <//>
`;

const Row = ({ worker }) => html`
  <tr>
    <th scope="row"><bdi class="id" title=${worker.id}>${worker.id}</bdi></th>
    <td><${Now} worker=${worker} /></td>
    <td>${worker.role}</td>
    <td><bdi class="name" title=${worker.fingerprint ?? ""}>${worker.checkpoint ?? "–"}</bdi></td>
    <td>${worker.device ?? "–"}</td>
    <td>${worker.memory ? html`<${Memory} memory=${worker.memory} />` : "–"}</td>
    <td class="n">${worker.tokens_per_s === null ? "–" : count(Math.round(worker.tokens_per_s))}</td>
    <td class="n">${count(worker.tasks)}</td>
    <td class="n"><${Ago} time=${worker.started} /></td>
    <td class="n"><${Ago} time=${worker.seen} /></td>
  </tr>
`;

const WHERE = { offload: "its weights are in the host's memory", discard: "its weights are in their files alone" };

const Now = ({ worker: { busy, asleep } }) => html`
  <span class=${`status ${busy ? "running" : "idle"}`} title=${busy ? null : WHERE[asleep]}>
    ${busy ? "busy" : asleep ? "asleep" : "idle"}
  </span>
`;

const Memory = ({ memory: { allocated_bytes: used, total_bytes: total } }) => html`
  <span class="memory" title=${percent(used / total)}>
    <meter aria-label="Memory in use" min="0" max=${total} value=${used}></meter>
    <span>${bytes(used)} <span class="hint">of ${bytes(total)}</span></span>
  </span>
`;
