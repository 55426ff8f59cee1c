/* Keep rate, mean conflict and norm over a direction's versions. */

import { html } from "./vendor/htm-preact.js";
import { MEASURES, overVersions } from "./pictures/pictures.js";
import { AsTable, Picture, Section } from "./parts.js";

const HINT = "One dot for each request that was folded in, and the mean of the last few.";

const HINTS = {
  keepRate: "of each request’s pairs",
  meanConflict: "of the scores; below 0 is agreement",
  norm: "of the consensus gradient",
};

export function Versions({ history }) {
  if (!history?.length) return null;
  return html`
    <${Section} id="versions" title="Over versions" hint=${HINT}>
      <div class="trends">
        ${Object.entries(MEASURES).map(
          ([measure, { title, value, say }]) => html`
            <div key=${measure}>
              <h3>${title} <span class="hint">${HINTS[measure]}</span></h3>
              <p class="latest">${latest(history, value, say)}</p>
              <${Picture}
                name=${title}
                data=${[history]}
                draw=${(width) => overVersions({ history, measure }, { width })}
              />
            </div>
          `,
        )}
      </div>
      <${AsTable} table=${() => trail(history)} />
    <//>
  `;
}

function latest(history, value, say) {
  const last = value(history.at(-1));
  return Number.isFinite(last) ? say(last) : "–";
}

function trail(history) {
  const measures = Object.values(MEASURES);
  return {
    caption: "Each version of the direction, the latest first",
    columns: ["Version", ...measures.map(({ title }) => title)],
    rows: history
      .toReversed()
      .map((entry) => [entry.version, ...measures.map(({ value, say }) => latest([entry], value, say))]),
  };
}
