/* How alike the languages' gradients are, before and after surgery. */

import {
  INSET,
  cellPath,
  cellSize,
  columnAxis,
  draw,
  inPaths,
  isUpright,
  labelWidth,
  rowAxis,
  shade,
  short,
  tip,
} from "./drawing.js";
import { hundredths, number } from "./numbers.js";
import { similarityOrder } from "./order.js";

const TITLE = 130; // pixels that a panel's title and the legend need, however few the languages
const LEGEND = 220;

export function cosineMatrix({ languages, before, after, order }, { width }) {
  const tags = order ?? similarityOrder(languages, before);
  const titles = after ? ["Before surgery", "After surgery"] : ["Before surgery"];
  const cells = titles.flatMap((title, side) => cosineCells(languages, [before, after][side], title));
  const limit = Math.max(0.05, d3.max(cells, (cell) => (cell.row === cell.column ? 0 : Math.abs(cell.cosine))) ?? 0);
  const shape = matrixShape(tags, titles, width);
  const svg = draw(
    {
      ...shape.plot,
      x: { domain: tags, label: null, padding: 0, round: false },
      y: { domain: tags, label: null, padding: 0, round: false },
      marks: [
        rowAxis(shape),
        columnAxis(shape),
        Plot.text(titles, { [shape.facet]: (title) => title, text: (title) => title, ...shape.title }),
        Plot.cell(cells, { ...shape.position, ...cellFill(limit), inset: INSET, rx: 2, ...inPaths(tags, cellPath) }),
        shape.cell < 26 ? null : Plot.text(cells, { ...shape.position, ...cellText(limit, shape.cell) }),
        Plot.tip(
          cells,
          Plot.pointer({
            ...shape.position,
            title: (cell) => `${cell.row} · ${cell.column}\n${number(3)(cell.cosine)}`,
            ...tip,
          }),
        ),
      ],
    },
    `Cosines of the gradients of ${tags.length} languages, ${titles.join(" and ").toLowerCase()}: ${extremes(cells)}`,
  );
  cosineLegend(svg, limit, shape);
  return svg;
}

const cosineCells = (languages, cosines, side) =>
  d3.cross(d3.range(languages.length), d3.range(languages.length), (i, j) => ({
    side,
    row: languages[i],
    column: languages[j],
    cosine: cosines[i][j],
  }));

function extremes(cells) {
  const [first] = cells;
  const others = cells.filter((cell) => cell.side === first?.side && cell.row < cell.column);
  if (!others.length) return "one language only";
  const said = (cell) => `${cell.row} and ${cell.column} (${number(2)(cell.cosine)})`;
  const [apart, alike] = [d3.least(others, (cell) => cell.cosine), d3.greatest(others, (cell) => cell.cosine)];
  return `furthest apart before surgery are ${said(apart)}, closest ${said(alike)}`;
}

/* One panel beside the other, or one below the other where that leaves too little room. */
function matrixShape(tags, titles, width) {
  const panels = titles.length;
  const left = labelWidth(tags.map(short));
  const stacked = panels > 1 && (width < 640 || (width - left) / 2 / tags.length < 16);
  const across = stacked ? 1 : panels;
  const cell = cellSize(44, (width - left - 1 - 40 * (across - 1)) / across / tags.length);
  const side = cell * tags.length;
  const gap = stacked ? 0 : Math.max(40, TITLE - side);
  const right = Math.max(1, LEGEND - across * side - gap);
  const upright = isUpright(tags, cell);
  const top = 34 + (upright ? left : 16);
  const between = stacked ? top + 28 : gap;
  const facet = stacked ? "fy" : "fx";
  return {
    cell,
    upright,
    stacked,
    facet,
    top,
    left,
    position: { x: "column", y: "row", [facet]: "side" },
    title: { frameAnchor: "top-left", dy: -top, lineAnchor: "top", fill: "var(--ink)", fontWeight: 600, fontSize: 13 },
    plot: {
      width: left + across * side + gap * (across - 1) + right,
      height: top + (stacked ? panels * side + between * (panels - 1) : side) + 46,
      marginTop: top,
      marginLeft: left,
      marginRight: right,
      marginBottom: 46,
      [facet]: {
        domain: titles,
        label: null,
        axis: null,
        round: false,
        padding: 0,
        paddingInner: between / (side + between),
      },
    },
  };
}

/* Small cosines are told apart better than large ones: whether two languages pull apart matters most. */
const tone = (cosine, limit) => Math.sign(cosine) * (Math.abs(cosine) / limit) ** 0.6;

const isSame = (cell) => cell.row === cell.column;

const cellFill = (limit) => ({
  fill: { value: (cell) => (isSame(cell) ? "var(--surface)" : shade(tone(cell.cosine, limit))), scale: null },
  stroke: { value: (cell) => (isSame(cell) ? "var(--line)" : "none"), scale: null },
});

const cellText = (limit, size) => ({
  text: (cell) => hundredths(cell.cosine),
  fontSize: Math.min(12, size * 0.33),
  fill: { value: (cell) => (isSame(cell) ? "var(--muted)" : textOn(tone(cell.cosine, limit))), scale: null },
});

/* Black or white, whichever stands out from a shade by 4.5 to 1; light and dark turn at points of their own. */
function textOn(value) {
  const strength = Math.abs(value);
  const inLight = strength > (value < 0 ? 0.95 : 0.84) ? "#fff" : "#000";
  const inDark = strength > (value < 0 ? 0.6 : 0.65) ? "#000" : "#fff";
  return `light-dark(${inLight}, ${inDark})`;
}

function cosineLegend(svg, limit, { left, plot }) {
  const steps = d3.range(-10, 11);
  const legend = d3
    .select(svg)
    .append("g")
    .attr("transform", `translate(${left},${plot.height - 30})`)
    .attr("font-size", 11);
  const room = LEGEND;
  const step = room / steps.length;
  legend
    .selectAll("rect")
    .data(steps)
    .join("rect")
    .attr("x", (_, index) => index * step)
    .attr("width", step + 0.5)
    .attr("height", 7)
    .attr("fill", (value) => shade(tone(value, 10)));
  const label = (x, anchor, text) =>
    legend
      .append("text")
      .attr("x", x)
      .attr("y", 22)
      .attr("text-anchor", anchor)
      .attr("fill", "var(--muted)")
      .text(text);
  label(0, "start", `${number(2)(-limit)} pull apart`);
  label(room / 2, "middle", "0");
  label(room, "end", `agree ${number(2)(limit)}`);
}
