/* How a direction fared from version to version. */

import { draw, tip } from "./drawing.js";
import { number, percent, significant } from "./numbers.js";

const pairs = (entry) => d3.sum(Object.values(entry.by_language), ({ kept, dropped }) => kept + dropped);
const scored = (entry) => Object.values(entry.by_language).filter(({ mean_conflict }) => mean_conflict !== null);
const scores = ({ scored, kept, dropped }) => scored ?? kept + dropped; // an earlier worker did not count them
const allScores = (entry) => d3.sum(scored(entry), scores);

/* By name: its title, its value at an entry of the history, how much that entry weighs in a mean, how it is said. */
export const MEASURES = {
  keepRate: {
    title: "Keep rate",
    value: (entry) => d3.sum(Object.values(entry.by_language), ({ kept }) => kept) / pairs(entry),
    weight: pairs,
    say: percent,
    domain: [0, 1],
  },
  meanConflict: {
    title: "Mean conflict",
    value: (entry) => d3.sum(scored(entry), (language) => scores(language) * language.mean_conflict) / allScores(entry),
    weight: allScores,
    say: number(3),
  },
  norm: { title: "Direction norm", value: (entry) => entry.norm, weight: () => 1, say: significant },
};

export function overVersions({ history, measure }, { width, height = 130 }) {
  const { title, value, weight, say, domain } = MEASURES[measure];
  const points = history
    .map((entry) => ({ version: entry.version, value: value(entry), weight: weight(entry) }))
    .filter((point) => Number.isFinite(point.value));
  const smooth = measure === "norm" ? points : rolling(points, Math.max(1, Math.round(points.length / 12)));
  const last = points.at(-1);
  return draw(
    {
      width,
      height,
      marginTop: 12,
      marginLeft: 48,
      marginRight: 14,
      marginBottom: 24,
      x: { label: null, domain: d3.extent(points, ({ version }) => version) },
      y: { label: null, domain, nice: true, zero: measure === "norm" },
      marks: [
        Plot.gridY({ stroke: "var(--line)", strokeOpacity: 1, ticks: 3 }),
        Plot.axisY({
          tickSize: 0,
          ticks: 3,
          tickPadding: 8,
          tickFormat: domain ? percent : significant,
          color: "var(--muted)",
          fontSize: 11,
        }),
        Plot.axisX({
          tickSize: 0,
          ticks: Math.max(2, Math.floor(width / 90)),
          tickPadding: 8,
          tickFormat: (version) => (Number.isInteger(version) ? `${version}` : ""),
          color: "var(--muted)",
          fontSize: 11,
        }),
        Plot.dot(points, { x: "version", y: "value", r: 1.75, fill: "var(--faint)" }),
        Plot.lineY(smooth, {
          x: "version",
          y: "value",
          stroke: "var(--agree)",
          strokeWidth: 2,
          strokeLinejoin: "round",
          strokeLinecap: "round",
        }),
        last
          ? Plot.dot([last], {
              x: "version",
              y: "value",
              r: 4,
              fill: "var(--agree)",
              stroke: "var(--surface)",
              strokeWidth: 2,
            })
          : null,
        Plot.tip(
          points,
          Plot.pointerX({
            x: "version",
            y: "value",
            title: (point) => `version ${point.version}\n${say(point.value)}`,
            ...tip,
          }),
        ),
      ],
    },
    points.length
      ? `${title} over ${points.length} versions: ${say(points[0].value)} at first, ${say(last.value)} at the last`
      : `${title}: no versions yet`,
  );
}

/* Each point as the mean of itself and those before it, `size` together, weighted as their measure says. */
function rolling(points, size) {
  return points.map((point, index) => {
    const window = points.slice(Math.max(0, index - size + 1), index + 1);
    return {
      ...point,
      value: d3.sum(window, (near) => near.value * near.weight) / d3.sum(window, (near) => near.weight),
    };
  });
}
