/* Where a direction's latest scores lie, and what another threshold would have kept. */

import { html, useState } from "./vendor/htm-preact.js";
import { keptAt, scoreDistributions, scoreDomain } from "./pictures/pictures.js";
import { Picture, Section } from "./parts.js";
import { count, number, percent, plural, score } from "./say.js";
import { Threshold } from "./threshold.js";

const HINT =
  "The latest conflict scores of each language, the most conflicting on top. " +
  "Each request chooses its threshold, 0 unless it says otherwise; moving it here changes nothing.";

export function Scores({ scores }) {
  const [threshold, setThreshold] = useState(0);
  if (!scores || !Object.values(scores.languages).some((language) => language.count)) return null;
  const { width: bin, languages } = scores;
  const used = Object.entries(languages).filter(([, language]) => language.count);
  const kept = d3.sum(used, ([, language]) => keptAt(language, bin, threshold));
  const all = d3.sum(used, ([, language]) => language.count);
  const table = () => ({
    caption: `Kept at a threshold of ${number(2)(threshold)}`,
    columns: ["Language", "Scores", "Mean conflict", "Kept"],
    rows: used.map(([tag, language]) => [
      tag,
      count(language.count),
      score(language.mean),
      percent(keptAt(language, bin, threshold) / language.count),
    ]),
  });
  return html`
    <${Section}
      id="scores"
      title="Where the threshold falls"
      hint=${HINT}
    >
      <${Threshold} domain=${scoreDomain(languages, bin)} bin=${bin} threshold=${threshold} onThreshold=${setThreshold}>
        <strong>${percent(kept / all)}</strong> of ${plural(all, "pair")} would be kept${" "}
        <span class="hint">${against(used, bin, kept, threshold)}</span>
      <//>
      <${Picture}
        name="Scores"
        data=${[scores, threshold]}
        draw=${(width) => scoreDistributions({ ...scores, threshold, onThreshold: setThreshold }, { width })}
        table=${table}
      />
    <//>
  `;
}

function against(used, bin, kept, threshold) {
  if (Math.abs(threshold) < bin / 2) return "";
  const more = kept - d3.sum(used, ([, language]) => keptAt(language, bin, 0));
  return more === 0 ? "as many as at 0" : `${count(Math.abs(more))} ${more > 0 ? "more" : "fewer"} than at 0`;
}
