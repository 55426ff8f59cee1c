/* What a direction was made of. */

import { html } from "./vendor/htm-preact.js";
import { samplesByLanguage } from "./pictures/pictures.js";
import { Picture, Section, Tag } from "./parts.js";
import { count, percent, significant } from "./say.js";

export function Samples({ direction, order }) {
  const samples = Object.fromEntries(
    Object.entries(direction.languages).map(([tag, language]) => [tag, language.samples]),
  );
  const table = () => ({
    caption: "Samples by language",
    columns: ["Language", "Samples", "Effective", "Norm of its gradient", "Counts"],
    rows: order.map((tag) => {
      const language = direction.languages[tag];
      return [
        html`<${Tag} tag=${tag} />`,
        count(language.samples),
        significant(language.weight),
        significant(language.norm),
        tag in direction.weights ? percent(direction.weights[tag]) : "–",
      ];
    }),
  });
  return html`
    <${Section} id="samples" title="What it was made of" hint="Samples that were folded in, by language.">
      <${Picture}
        name="Samples"
        data=${[direction, order]}
        draw=${(width) => samplesByLanguage({ samples, order }, { width })}
        table=${table}
      />
    <//>
  `;
}
