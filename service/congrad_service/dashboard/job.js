/* The page of one job: how it went, and what it decided. */

import { html, useMemo, useState } from "./vendor/htm-preact.js";
import { histogram, keptAt, scoreDistributions, scoreDomain } from "./pictures/pictures.js";
import { Decisions } from "./decisions.js";
import { lengthSpearman } from "./lengths.js";
import { Progress, Stages, Status, hasEnded, stagesOf } from "./jobs.js";
import { Ago, Empty, Figure, Picture, Problem, Section, Tag, useTitle } from "./parts.js";
import { goTo, useRoute } from "./routes.js";
import { count, number, percent, plural, score, seconds } from "./say.js";
import { Threshold } from "./threshold.js";
import { WhatIf } from "./what-if.js";

const HINT = "By language, the most conflicting on top. Moving the threshold changes nothing.";
const BIN = 0.01; // as the service's own histograms have it

export function Job({ id, again }) {
  useTitle(`Job ${id.slice(0, 8)}`);
  const [ended, setEnded] = useState(false); // what has ended stays as it is
  const [answer, setAnswer] = useState(null); // to another question than the job's
  const { data: job, error } = useRoute(`jobs/${encodeURIComponent(id)}`, ended ? 0 : again);
  if (error?.status === 404)
    return html`<${Empty} title="There is no such job"><p>Jobs and their answers are forgotten after a while.</p><//>`;
  if (!job) return error ? html`<${Problem} error=${error} />` : html`<div class="waiting"></div>`;
  if (hasEnded(job) !== ended) setEnded(hasEnded(job));
  return html`
    <div class="title">
      <p class="over"><a ...${goTo({ direction: job.direction })}>← Direction <bdi>${job.direction}</bdi></a></p>
      <h1 class="job-title">Job <span class="id">${job.id.slice(0, 8)}</span> <${Status} status=${job.status} /></h1>
      <p class="hint">
        ${plural(job.samples, "pair")}, sent <${Ago} time=${job.created} />. <span class="full-id">${job.id}</span>
      </p>
    </div>
    ${job.error ? html`<${Failure} problem=${job.error} />` : null}
    ${hasEnded(job) ? null : html`<${Progress} progress=${job.progress} />`}
    ${
      job.result && job.retained
        ? html`<${WhatIf} id=${job.id} result=${job.result} answer=${answer} onAnswer=${setAnswer} />`
        : null
    }
    ${job.result ? html`<${Result} result=${answer ?? job.result} texts=${job.id} />` : null}
  `;
}

const Failure = ({ problem }) => html`
  <div class="failure">
    <h2>${problem.title}</h2>
    <p>${problem.detail}</p>
    ${
      problem.errors?.length
        ? html`<ul>
            ${problem.errors.map(({ pointer, detail }) => html`<li><code>${pointer}</code> ${detail}</li>`)}
          </ul>`
        : null
    }
  </div>
`;

function Result({ result, texts }) {
  const { summary, timing, decisions, direction } = result;
  const scores = decisions.map((decision) => decision.conflict_score).filter((value) => value !== null);
  const share = (part) => percent(part / Math.max(1, decisions.length));
  const mean = scores.length ? score(d3.mean(scores)) : "–";
  return html`
    <dl class="figures">
      <${Figure} label="Kept" value=${count(summary.kept)} note=${share(summary.kept)} tone="kept" />
      <${Figure} label="Dropped" value=${count(summary.dropped)} note=${share(summary.dropped)} tone="dropped" />
      ${
        summary.repeated
          ? html`<${Figure} label="Repeated" value=${count(summary.repeated)} note="counted once" />`
          : null
      }
      <${Figure} label="Mean conflict" value=${mean} note=${plural(scores.length, "score")} />
      <${Figure} label="Took" value=${seconds(timing.total_s)} note=${`against version ${count(direction.version)}`} />
    </dl>
    <${Section} id="stages" title="Where the time went">
      <div class="stage-bar"><${Stages} timing=${timing} longest=${0} /></div>
      <p class="stages-key">
        ${stagesOf(timing).map(
          ([field, name, said]) => html`<span class=${`key ${field}`}>${name} <b>${said}</b></span>`,
        )}
      </p>
    <//>
    ${scores.length ? html`<${Scores} decisions=${decisions} summary=${summary} />` : null}
    <${Decisions} id=${texts} decisions=${decisions} />
  `;
}

function Scores({ decisions, summary }) {
  const [threshold, setThreshold] = useState(0);
  const languages = useMemo(() => byLanguage(decisions), [decisions]);
  const scores = { width: BIN, languages };
  const kept = d3.sum(Object.values(languages), (language) => keptAt(language, BIN, threshold));
  const all = d3.sum(Object.values(languages), (language) => language.count);
  const table = () => ({
    caption: "The job’s answer by language",
    columns: ["Language", "Kept", "Dropped", "Mean conflict"],
    rows: Object.entries(summary.by_language).map(([tag, language]) => [
      html`<${Tag} tag=${tag} />`,
      count(language.kept),
      count(language.dropped),
      language.mean_conflict === null ? "–" : score(language.mean_conflict),
    ]),
  });
  return html`
    <${Section} id="scores" title="Its conflict scores" hint=${HINT}>
      <${Threshold} domain=${scoreDomain(languages, BIN)} bin=${BIN} threshold=${threshold} onThreshold=${setThreshold}>
        <strong>${percent(kept / all)}</strong> of ${plural(all, "pair")} would be kept
      <//>
      <${Picture}
        name="Scores"
        data=${[languages, threshold]}
        draw=${(width) => scoreDistributions({ ...scores, threshold, onThreshold: setThreshold }, { width })}
        table=${table}
      />
      <${FollowsLength} decisions=${decisions} />
    <//>
  `;
}

function FollowsLength({ decisions }) {
  const values = useMemo(() => lengthSpearman(decisions), [decisions]);
  if (!values.length) return null;
  const signed = (value) => `${value < 0 ? "" : "+"}${number(2)(value)}`;
  return html`
    <p class="hint follows-length">
      Scores follow length (Spearman of conflict with how much longer the chosen answer is):${" "}
      ${values.map(([tag, value]) => `${tag} ${signed(value)}`).join(", ")}; the further below 0, the more a long chosen
      answer alone looks good.
    </p>
  `;
}

function byLanguage(decisions) {
  const groups = d3.group(
    decisions.filter((decision) => decision.conflict_score !== null),
    (decision) => decision.language,
  );
  return Object.fromEntries(
    [...groups].map(([tag, group]) => {
      const scores = group.map((decision) => decision.conflict_score);
      return [tag, { count: scores.length, mean: d3.mean(scores), histogram: histogram(scores, BIN) }];
    }),
  );
}
