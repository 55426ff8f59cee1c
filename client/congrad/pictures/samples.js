/* How many samples of each language a direction is made of. */

import { draw, labelWidth, short } from "./drawing.js";
import { count } from "./numbers.js";

export function samplesByLanguage({ samples, order }, { width }) {
  const rows = (order ?? Object.keys(samples)).map((tag) => ({ tag, samples: samples[tag] }));
  const left = labelWidth(rows.map(({ tag }) => short(tag)).concat("mm"));
  const step = rows.length > 30 ? 18 : 28;
  return draw(
    {
      width,
      height: rows.length * step + 8,
      marginTop: 4,
      marginBottom: 4,
      marginLeft: left,
      marginRight: 6 + labelWidth([count(d3.max(rows, (row) => row.samples) ?? 0)]),
      x: { axis: null, domain: [0, Math.max(1, d3.max(rows, (row) => row.samples) ?? 0)] },
      y: { axis: null, domain: rows.map(({ tag }) => tag), padding: 0.6 },
      marks: [
        Plot.barX(rows, { x: "samples", y: "tag", fill: "var(--agree)", rx: 1.5 }),
        Plot.text(rows, {
          x: 0,
          y: "tag",
          dx: -8,
          textAnchor: "end",
          text: ({ tag }) => short(tag),
          fill: "var(--ink)",
          fontWeight: 500,
        }),
        Plot.text(rows, { x: "samples", y: "tag", dx: 6, textAnchor: "start", text: (row) => count(row.samples) }),
      ],
    },
    `Samples seen by language: ${rows.map((row) => `${row.tag} ${count(row.samples)}`).join(", ")}`,
  );
}
