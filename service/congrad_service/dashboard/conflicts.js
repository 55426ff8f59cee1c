/* Whom the dropped pairs of each language conflict with. */

import { html } from "./vendor/htm-preact.js";
import { conflictFlows } from "./pictures/pictures.js";
import { Empty, Picture, Section } from "./parts.js";
import { count } from "./say.js";

const HINT =
  "For each language (row) its dropped pairs, and how many of them conflict with each other language (area).";

export function Conflicts({ conflicts, order }) {
  if (order.length < 2) return null;
  const languages = conflicts?.languages ?? {};
  const any = Object.values(languages).some(({ dropped }) => dropped);
  const tags = [
    ...order.filter((tag) => tag in languages),
    ...Object.keys(languages).filter((tag) => !order.includes(tag)),
  ];
  const table = () => ({
    caption: "Dropped pairs and the languages that they conflict with",
    columns: ["Language", "Dropped", "Conflicts with"],
    rows: tags.map((tag) => [tag, count(languages[tag].dropped), worst(languages[tag])]),
  });
  return html`
    <${Section}
      id="conflicts"
      title="Who conflicts with whom"
      hint=${HINT}
    >
      ${
        any
          ? html`<${Picture}
              name="Conflicts"
              data=${[conflicts, order]}
              draw=${(width) => conflictFlows({ languages, order: tags }, { width })}
              table=${table}
            />`
          : html`<${Empty} title="No pair was dropped yet" />`
      }
    <//>
  `;
}

const worst = ({ conflicts_with: others }) =>
  d3
    .sort(Object.entries(others), ([, n]) => -n)
    .map(([tag, n]) => `${tag} ${count(n)}`)
    .join(", ") || "none";
