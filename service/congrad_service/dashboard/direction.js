/* What a direction is, and what was decided by it. */

import { html, useMemo } from "./vendor/htm-preact.js";
import { similarityOrder } from "./pictures/pictures.js";
import { Conflicts } from "./conflicts.js";
import { Cosines } from "./cosines.js";
import { Ago, Empty, Problem } from "./parts.js";
import { useRoute } from "./routes.js";
import { Samples } from "./samples.js";
import { count, plural } from "./say.js";
import { Scores } from "./scores.js";
import { Versions } from "./versions.js";

const MANY = 20; // languages, from which on a picture of them takes the whole width

export function Direction({ name, again }) {
  const path = `directions/${encodeURIComponent(name)}`;
  const { data: direction, error } = useRoute(path, again);
  const { data: history } = useRoute(`${path}/history?limit=500`, again);
  const { data: scores } = useRoute(`${path}/scores`, again);
  const { data: conflicts } = useRoute(`${path}/conflicts`, again);
  const languages = useMemo(() => Object.keys(direction?.languages ?? {}), [direction]);
  const order = useMemo(() => similarityOrder(languages, direction?.cosines_before ?? []), [direction]);
  if (error?.status === 404)
    return html`
      <${Empty} title=${`There is no direction ${name}`}><p>It may have been reset; choose another one above.</p><//>
    `;
  if (!direction) return error ? html`<${Problem} error=${error} />` : html`<div class="waiting"></div>`;
  return html`
    <${Facts} direction=${direction} />
    <${Notes} notes=${direction.notes} />
    <${Versions} history=${history} />
    <${Cosines} direction=${direction} languages=${languages} order=${order} />
    <${Scores} scores=${scores} />
    <div class=${languages.length > MANY ? "" : "columns"}>
      <${Conflicts} conflicts=${conflicts} order=${order} />
      <${Samples} direction=${direction} order=${order} />
    </div>
  `;
}

/* Which languages pull against the others, in the service's words. */
const Notes = ({ notes }) =>
  notes.length > 0 &&
  html`
    <ul class="warnings">
      ${notes.map((note) => html`<li>${note[0].toUpperCase() + note.slice(1)}.</li>`)}
    </ul>
  `;

const Facts = ({ direction }) => {
  const samples = d3.sum(Object.values(direction.languages), (language) => language.samples);
  const { name: aggregator } = direction.aggregator;
  return html`
    <dl class="facts">
      <div><dt>Version</dt><dd>${count(direction.version)}</dd></div>
      <div><dt>Checkpoint</dt><dd title=${direction.checkpoint}><bdi>${direction.checkpoint}</bdi></dd></div>
      <div><dt>Languages</dt><dd>${count(Object.keys(direction.languages).length)}</dd></div>
      <div><dt>Samples</dt><dd>${count(samples)}</dd></div>
      ${
        direction.forgotten
          ? html`<div><dt>Pairs forgotten</dt><dd>${count(direction.forgotten)}</dd></div>`
          : null
      }
      <div><dt>Surgery</dt><dd>${aggregator}</dd></div>
      <div><dt>Half-life</dt><dd>${direction.half_life ? plural(direction.half_life, "sample") : "none"}</dd></div>
      <div><dt>Updated</dt><dd><${Ago} time=${direction.updated} /></dd></div>
    </dl>
  `;
};
