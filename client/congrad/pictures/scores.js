/* Where each language's conflict scores lie, and what a threshold keeps of them. */

import { draw, labelWidth, short } from "./drawing.js";
import { density, keptAt, scoreDomain } from "./histograms.js";
import { number, percent, significant } from "./numbers.js";

export function scoreDistributions({ width: bin, languages, threshold = 0, onThreshold }, { width }) {
  const rows = d3
    .sort(
      Object.entries(languages).filter(([, language]) => language.count),
      ([, language]) => -language.mean,
    )
    .map(([tag, language], index) => ({
      tag,
      ...language,
      base: index + 1,
      kept: keptAt(language, bin, threshold) / d3.sum(language.histogram),
    }));
  const domain = scoreDomain(languages, bin);
  const step = rows.length > 30 ? 20 : rows.length > 16 ? 26 : 34;
  const left = labelWidth(rows.map(({ tag }) => short(tag)).concat("mm"));
  const right = 52;
  const curves = rows.map((row) => density(row, bin, domain));
  const highest = d3.max(curves.flat(), (point) => point.density) || 1;
  const isSeen = (point) => point.density > 0.004 * highest;
  const rise = (point) => point.base - 1.5 * (point.density / highest);
  const isKept = (point) => point.score <= threshold + bin / 4;
  const isDropped = (point) => point.score >= threshold - bin / 4;
  const part = (points, colour) => [
    Plot.areaY(points, { x: "score", y1: "base", y2: rise, fill: `color-mix(in srgb, ${colour} 28%, var(--surface))` }),
    Plot.lineY(points, { x: "score", y: rise, stroke: colour, strokeWidth: 1.5, strokeLinejoin: "round" }),
  ];
  const svg = draw(
    {
      width,
      height: 56 + step * (rows.length + 0.5) + 28,
      marginTop: 56,
      marginBottom: 28,
      marginLeft: left,
      marginRight: right,
      x: { domain, label: null },
      y: { domain: [0, rows.length + 0.5], range: [56, 56 + step * (rows.length + 0.5)], axis: null },
      marks: [
        Plot.axisX({
          tickSize: 0,
          tickPadding: 8,
          ticks: Math.max(3, Math.floor(width / 110)),
          tickFormat: (value) => significant(value),
          color: "var(--muted)",
        }),
        Plot.ruleX([0], { stroke: "var(--line)" }),
        Plot.ruleY(rows, { y: "base", stroke: "var(--line)" }),
        ...curves.flatMap((curve) => {
          const points = curve.filter(isSeen);
          return [...part(points.filter(isKept), "var(--agree)"), ...part(points.filter(isDropped), "var(--conflict)")];
        }),
        Plot.text(rows, {
          frameAnchor: "left",
          y: "base",
          dy: -7,
          dx: -8,
          textAnchor: "end",
          text: ({ tag }) => short(tag),
          fill: "var(--ink)",
          fontWeight: 500,
          title: "tag",
        }),
        Plot.text(rows, {
          frameAnchor: "right",
          y: "base",
          dy: -7,
          dx: right,
          textAnchor: "end",
          text: ({ kept }) => percent(kept),
          fill: "var(--ink)",
        }),
        Plot.ruleX([threshold], { stroke: "var(--ink)", strokeWidth: 1.5, y1: 0, y2: rows.length + 0.5 }),
      ],
    },
    `Conflict scores of ${rows.length} languages. Kept at a threshold of ${number(2)(threshold)}: ` +
      rows.map(({ tag, kept }) => `${tag} ${percent(kept)}`).join(", "),
  );
  thresholdLabels(svg, { threshold, domain, left, right, width });
  if (onThreshold) draggable(svg, domain, bin, onThreshold);
  return svg;
}

function thresholdLabels(svg, { threshold, domain, left, right, width }) {
  const x = 0.5 + left + ((threshold - domain[0]) / (domain[1] - domain[0])) * (width - left - right);
  const layer = d3.select(svg).append("g").attr("font-size", 12).attr("font-weight", 600);
  const label = (position, y, anchor, colour, text) =>
    layer.append("text").attr("x", position).attr("y", y).attr("text-anchor", anchor).attr("fill", colour).text(text);
  label(x - 10, 32, "end", "var(--agree)", "kept");
  label(x + 10, 32, "start", "var(--conflict)", "dropped");
  label(width, 32, "end", "var(--muted)", "share kept");
  layer.append("circle").attr("cx", x).attr("cy", 28).attr("r", 5).attr("fill", "var(--ink)");
  layer
    .append("line")
    .attr("x1", x)
    .attr("x2", x)
    .attr("y1", 28)
    .attr("y2", 58)
    .attr("stroke", "var(--ink)")
    .attr("stroke-width", 1.5);
}

/* Where the pointer goes, the threshold goes, edge by edge; also when the picture is drawn again meanwhile. */
function draggable(svg, [low, high], bin, onThreshold) {
  svg.classList.add("picture-threshold");
  svg.addEventListener("pointerdown", (down) => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    const x = svg.scale("x");
    const follow = (event) => {
      const value = Math.min(high, Math.max(low, x.invert((event.clientX - box.left) * scale)));
      onThreshold(Math.round(value / bin) * bin);
    };
    const drag = new AbortController(); // takes all three listeners away, however it ends
    follow(down);
    addEventListener("pointermove", follow, { signal: drag.signal });
    for (const end of ["pointerup", "pointercancel"])
      addEventListener(end, () => drag.abort(), { signal: drag.signal });
  });
}
