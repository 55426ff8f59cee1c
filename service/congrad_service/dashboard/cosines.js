/* Which languages pull apart, before and after surgery. */

import { html } from "./vendor/htm-preact.js";
import { cosineMatrix } from "./pictures/pictures.js";
import { Picture, Section } from "./parts.js";
import { count, number, plural } from "./say.js";

const HINT =
  "Cosines of the languages’ mean gradients, alike ones side by side. " +
  "Surgery takes out of each row what works against a column.";

export function Cosines({ direction, languages, order }) {
  if (languages.length < 2) return null;
  const { cosines_before: before, cosines_after: after } = direction;
  const place = new Map(languages.map((tag, index) => [tag, index]));
  const table = () => ({
    caption: "Cosines before and after surgery",
    columns: ["Languages", ...order],
    rows: order.map((row) => [row, ...order.map((column) => said(before, after, place.get(row), place.get(column)))]),
  });
  return html`
    <${Section}
      id="cosines"
      title="Which languages pull apart"
      hint=${HINT}
    >
      <p class="finding">${furthest(order.map((tag) => place.get(tag)), languages, before, after)}</p>
      <${Picture}
        name="Cosines"
        data=${[direction]}
        draw=${(width) => cosineMatrix({ languages, before, after, order }, { width })}
        table=${table}
      />
    <//>
  `;
}

/* The two that differ most, and how many do. Each is asked of its worse side: after surgery the matrix has two. */
function furthest(order, languages, before, after) {
  const pairs = order.flatMap((row, rank) => order.slice(rank + 1).map((column) => [row, column]));
  const worse = (cosines, [i, j]) => Math.min(cosines[i][j], cosines[j][i]);
  const say = (cosines, pair) => number(2)(worse(cosines, pair));
  const apart = (cosines) => pairs.filter((pair) => worse(cosines, pair) < -0.005).length;
  const worst = d3.least(pairs, (pair) => worse(before, pair));
  const names = worst.map((language) => languages[language]).join(" and ");
  if (!apart(before)) return `No two languages pull apart; the least alike are ${names} (${say(before, worst)}).`;
  return (
    `${names} pull apart most: ${say(before, worst)} before surgery, ${say(after, worst)} after. ` +
    `Of ${plural(pairs.length, "pair")} of languages, ${count(apart(before))} pulled apart before it, ` +
    `and ${apart(after) ? count(apart(after)) : "none"} after.`
  );
}

const said = (before, after, i, j) => `${number(2)(before[i][j])} → ${number(2)(after[i][j])}`;
