/* What every picture shares: its frame, its colours, its labels. */

const TAG_LENGTH = 14;
const CHARACTER = 7.2; // pixels of one at 12px, on average, at most

export const short = (tag) => (tag.length > TAG_LENGTH ? `${tag.slice(0, TAG_LENGTH - 1)}…` : tag);
export const labelWidth = (labels) => Math.ceil(10 + CHARACTER * d3.max(labels, (label) => label.length));

export function draw(options, description) {
  const svg = Plot.plot({
    ...options,
    className: "plot",
    style: { fontFamily: "inherit", fontSize: "12px", background: "none" },
  });
  svg.querySelector("style")?.remove(); // pictures.css has what is needed of it; a strict page would refuse it
  for (const mark of svg.querySelectorAll("[aria-label]")) mark.removeAttribute("aria-label"); // the picture has one
  svg.setAttribute("class", "picture");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", description);
  return svg;
}

/* A colour between conflict (-1), neither (0) and agreement (1). In sRGB, which every SVG reader can be told in. */
export function shade(value) {
  const end = value < 0 ? "var(--conflict)" : "var(--agree)";
  return `color-mix(in srgb, ${end} ${Math.round(100 * Math.min(1, Math.abs(value)))}%, var(--even))`;
}

export const tip = { fill: "var(--surface)", stroke: "var(--faint)", fontSize: 12, textPadding: 8, pointerSize: 8 };

/* Whether the tags above a matrix's columns have to stand upright. */
export const isUpright = (tags, cell) => labelWidth(tags.map(short)) > cell + 7;

/* From so many languages on, an element for each cell of their matrix is more than a browser draws while one waits. */
const MANY = 60;

/* How a mark of many cells or dots is drawn: as one path for each of its colours. `outline(place, values, scales)` is
 * what a path has of one of them. */
export const inPaths = (languages, outline) => (languages.length > MANY ? { render: pathsOf(outline) } : {});

const pathsOf = (outline) => (index, scales, values, dimensions, context, next) => {
  const mark = next([], scales, values, dimensions, context);
  for (const [fill, places] of d3.group(index, (place) => values.fill?.[place]))
    d3.select(mark)
      .append("path")
      .attr("d", places.map((place) => outline(place, values, scales)).join(""))
      .attr("fill", fill)
      .attr("stroke", values.stroke?.[places[0]]);
  return mark;
};

const hundredth = (pixels) => Math.round(100 * pixels) / 100;

export const INSET = 0.75; // pixels between a cell and its place

export function cellPath(place, { x, y }, scales) {
  const [width, height] = [scales.x, scales.y].map((scale) => hundredth(scale.bandwidth() - 2 * INSET));
  return `M${hundredth(x[place] + INSET)} ${hundredth(y[place] + INSET)}h${width}v${height}h${-width}z`;
}

export function dotPath(place, { x, y, r }) {
  const [left, radius] = [x[place] - r[place], r[place]].map(hundredth);
  const half = (across) => `a${radius} ${radius} 0 1 0 ${across} 0`;
  return `M${left} ${hundredth(y[place])}${half(2 * radius)}${half(-2 * radius)}`;
}

/* The side of a matrix's cells: what there is room for, but no less than its tags can be read at. */
export const cellSize = (most, room) => Math.max(10, Math.min(most, room));

const tagAxis = (cell) => ({
  tickSize: 0,
  tickFormat: short,
  fontSize: Math.max(8, Math.min(12, 0.62 * cell)),
  color: "var(--muted)",
});
export const rowAxis = ({ cell }) => Plot.axisY({ ...tagAxis(cell), facetAnchor: "left", tickPadding: 6 });
export const columnAxis = ({ cell, upright }) =>
  Plot.axisX({
    ...tagAxis(cell),
    facetAnchor: null,
    anchor: "top",
    tickPadding: 4,
    ...(upright ? { tickRotate: -90 } : {}),
  });
