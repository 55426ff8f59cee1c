/* Which languages the dropped pairs of each language conflict with. */

import {
  INSET,
  cellPath,
  cellSize,
  columnAxis,
  dotPath,
  draw,
  inPaths,
  isUpright,
  labelWidth,
  short,
  tip,
} from "./drawing.js";
import { count, percent } from "./numbers.js";

export function conflictFlows({ languages, order }, { width }) {
  const tags = (order ?? Object.keys(languages)).filter((tag) => tag in languages);
  const others = new Set(Object.values(languages).flatMap(({ conflicts_with }) => Object.keys(conflicts_with)));
  const columns = [...tags, ...d3.sort(d3.difference(others, tags))];
  const dots = tags.flatMap((tag) =>
    Object.entries(languages[tag].conflicts_with).map(([other, conflicts]) => ({
      row: tag,
      column: other,
      conflicts,
      share: conflicts / languages[tag].dropped,
    })),
  );
  const left = labelWidth(tags.map(short)) + 40;
  const cell = cellSize(38, (width - left - 1) / columns.length);
  const upright = isUpright(columns, cell);
  const top = upright ? labelWidth(columns.map(short)) + 10 : 26;
  const fontSize = Math.max(8, Math.min(12, cell - 2));
  return draw(
    {
      width: left + cell * columns.length + 1,
      height: top + cell * tags.length + 8,
      marginTop: top,
      marginLeft: left,
      marginRight: 1,
      marginBottom: 8,
      x: { domain: columns, label: null, padding: 0, round: false },
      y: { domain: tags, axis: null, padding: 0, round: false },
      r: { domain: [0, Math.max(1, d3.max(dots, ({ conflicts }) => conflicts) ?? 0)], range: [0, cell / 2 - 1.5] },
      marks: [
        columnAxis({ upright, cell }),
        Plot.text(tags, {
          frameAnchor: "left",
          dx: -left,
          textAnchor: "start",
          y: (tag) => tag,
          text: short,
          fill: "var(--ink)",
          fontWeight: 500,
          fontSize,
        }),
        Plot.text(tags, {
          frameAnchor: "left",
          dx: -8,
          textAnchor: "end",
          y: (tag) => tag,
          text: (tag) => count(languages[tag].dropped),
          fontSize,
        }),
        Plot.cell(d3.cross(tags, columns), {
          x: "1",
          y: "0",
          inset: INSET,
          rx: 2,
          fill: "var(--even)",
          ...inPaths(columns, cellPath),
        }),
        Plot.dot(dots, {
          x: "column",
          y: "row",
          r: "conflicts",
          fill: "var(--conflict)",
          ...inPaths(columns, dotPath),
        }),
        Plot.tip(
          dots,
          Plot.pointer({
            x: "column",
            y: "row",
            title: ({ row, column, conflicts, share }) =>
              `${row} against ${column}\n` +
              `${count(conflicts)} of ${count(languages[row].dropped)} dropped (${percent(share)})`,
            ...tip,
          }),
        ),
      ],
    },
    `Which languages the dropped pairs of each language conflict with: ${strongest(dots)}`,
  );
}

function strongest(dots) {
  const top = d3.greatest(dots, ({ conflicts }) => conflicts);
  return top ? `most often ${top.row} with ${top.column}, ${count(top.conflicts)} pairs` : "none were dropped";
}
