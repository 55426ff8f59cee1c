/* Jobs: running and recent ones as a list, and the marks that their own pages share with it. */

import { html, useState } from "./vendor/htm-preact.js";
import { Ago, Scroll, Section } from "./parts.js";
import { goTo, useRoute } from "./routes.js";
import { count, percent, plural, seconds } from "./say.js";

const FEW = 12;
const LATEST = 50; // what is asked for; there may be more

/* The stages of a job's time, by the field that holds their seconds. */
const STAGES = [
  ["queued_s", "queued"],
  ["gradients_s", "gradients"],
  ["decide_s", "decide"],
];

export const hasEnded = (job) => ["succeeded", "failed", "cancelled"].includes(job.status);

export function Jobs({ again }) {
  const [failed, setFailed] = useState(false);
  const { data: jobs } = useRoute(`jobs?limit=${LATEST}${failed ? "&status=failed" : ""}`, again);
  const [all, setAll] = useState(false);
  const shown = all ? jobs : jobs?.slice(0, FEW);
  const longest = d3.max(shown ?? [], (job) => job.timing?.total_s) ?? 0;
  return html`
    <${Section} id="jobs" title="Jobs" hint=${jobs ? howMany(jobs, failed) : ""}>
      <button class="more" aria-pressed=${failed} onClick=${() => setFailed(!failed)}>Failed only</button>
      ${shown?.length ? html`<${List} jobs=${shown} longest=${longest} />` : null}
      ${
        jobs?.length > shown?.length
          ? html`<button class="more" onClick=${() => setAll(true)}>Show all ${jobs.length}</button>`
          : null
      }
    <//>
  `;
}

function howMany(jobs, failed) {
  if (!jobs.length) return failed ? "None has failed." : "None yet.";
  if (failed) return "What was given up, newest first.";
  const unfinished = jobs.filter((job) => !hasEnded(job)).length;
  if (unfinished && jobs.length >= LATEST) return `Of the latest ${LATEST}, ${unfinished} are under way.`;
  return unfinished
    ? `${plural(unfinished, "job")} under way, the others ended.`
    : "None is under way; the latest ones, newest first.";
}

const List = ({ jobs, longest }) => html`
  <${Scroll} label="Table of jobs">
    <table class="jobs">
      <caption class="unseen">Jobs, newest first</caption>
      <thead>
        <tr>
          <th scope="col">Job</th>
          <th scope="col">Status</th>
          <th scope="col" class="roomy">Direction</th>
          <th scope="col" class="n roomy">Pairs</th>
          <th scope="col" class="n">Kept</th>
          <th scope="col" class="wide roomy">
            <span class="stages-key">
              ${STAGES.map(([field, name]) => html`<span class=${`key ${field}`}>${name}</span>`)}
            </span>
          </th>
          <th scope="col" class="n roomy">Took</th>
          <th scope="col" class="n">Sent</th>
        </tr>
      </thead>
      ${jobs.map((job) => html`<${Row} key=${job.id} job=${job} longest=${longest} />`)}
    </table>
  <//>
`;

function Row({ job, longest }) {
  const { kept } = job;
  const { done, total } = job.progress;
  return html`
    <tbody>
    <tr class=${job.error ? "explained" : ""}>
      <th scope="row"><a class="id" ...${goTo({ job: job.id })}>${job.id.slice(0, 8)}</a></th>
      <td>
        <${Status} status=${job.status} />${" "}
        <span class="narrow hint">${job.status === "running" ? `${done}/${total}` : ""}</span>
      </td>
      <td class="roomy">
        <a class="quiet" title=${job.direction} ...${goTo({ direction: job.direction })}><bdi>${job.direction}</bdi></a>
      </td>
      <td class="n roomy">${count(job.samples)}</td>
      <td class="n">
        ${kept === null ? "" : html`${count(kept)} <span class="hint">${percent(kept / job.samples)}</span>`}
      </td>
      <td class="wide roomy">${progress(job, longest)}</td>
      <td class="n roomy">${job.timing ? seconds(job.timing.total_s) : ""}</td>
      <td class="n"><${Ago} time=${job.created} /></td>
    </tr>
    ${
      job.error
        ? html`<tr class="explanation">
            <td></td>
            <td colspan="7"><span class="problem">${job.error.detail}</span> <${Tries} job=${job} /></td>
          </tr>`
        : null
    }
    </tbody>
  `;
}

/* How often what failed was started, and what to do about it. */
const Tries = ({ job }) => html`
  <span class="hint">
    ${job.starts ? `Started ${plural(job.starts, "time")}. ` : ""}
    ${job.retried ? html`Tried again as <a class="id" ...${goTo({ job: job.retried })}>${job.retried.slice(0, 8)}</a>.` : ""}
    ${job.can_be_retried ? html`<code>congrad retry ${job.id}</code>` : ""}
  </span>
`;

function progress(job, longest) {
  if (job.timing) return html`<${Stages} timing=${job.timing} longest=${longest} />`;
  return hasEnded(job) ? "" : html`<${Progress} progress=${job.progress} />`;
}

export const Status = ({ status }) => html`<span class=${`status ${status}`}>${status}</span>`;

export const Progress = ({ progress: { done, total } }) => html`
  <span class="progress">
    <progress aria-label="Chunks done" max=${Math.max(1, total)} value=${done}></progress>
    <span>${done} of ${plural(total, "chunk")}</span>
  </span>
`;

/* Where the time went, as long as the job took among the others. */
export const Stages = ({ timing, longest }) => html`
  <span class="stages" role="img" aria-label=${stagesOf(timing)
    .map(([, name, said]) => `${name} ${said}`)
    .join(", ")}>
    ${STAGES.map(
      ([field, name]) => html`
      <span
        class=${field}
        title=${`${name} ${seconds(timing[field])}`}
        style=${{ width: `${(100 * Math.max(0, timing[field])) / Math.max(longest, timing.total_s, 1e-9)}%` }}
      ></span>
    `,
    )}
  </span>
`;

export const stagesOf = (timing) => STAGES.map(([field, name]) => [field, name, seconds(timing[field])]);
