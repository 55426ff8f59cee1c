/* Languages against each other: how alike their gradients are, and which ones dropped pairs pull against. */

import { h, share } from "./elements.js";
import { picture } from "./figures.js";
import { conflictFlows, cosineMatrix, count, number, similarityOrder } from "../pictures/pictures.js";

/* The languages of the direction, alike ones side by side; none where the direction was not asked for. */
export const orderOf = ({ matrix }) => (matrix ? similarityOrder(matrix.languages, matrix.before) : []);

export function cosines({ matrix, order, direction, stem }) {
  if (!matrix)
    return h(
      "p",
      { class: "note" },
      "The cosines between languages belong to the direction, and are not in the file that this report was made of. ",
      h("code", {}, "congrad report … --direction NAME"),
      " asks the service for them.",
    );
  if (matrix.languages.length < 2)
    return h("p", { class: "note" }, "The direction has one language only: there is nothing to compare.");
  const later = direction.version !== matrix.version && `; the pairs were scored against version ${direction.version}`;
  return [
    h(
      "p",
      { class: "hint" },
      "Cosines between the mean gradients of languages: before surgery, and of each de-conflicted gradient (rows) with each language’s own (columns) after it. Alike languages are neighbours. Direction ",
      h("b", {}, matrix.name),
      `, version ${matrix.version}`,
      later || "",
      ".",
    ),
    picture(
      `${stem}-cosines`,
      (width) => cosineMatrix({ ...matrix, order }, { width }),
      () => [
        cosinesTable("Before surgery", matrix.languages, matrix.before),
        cosinesTable("After surgery", matrix.languages, matrix.after),
        weightsTable(matrix),
      ],
    ).whole,
  ];
}

/* Which languages pull against the others, in the service's words. */
export const notes = ({ matrix }) =>
  matrix?.notes.length > 0 &&
  h(
    "ul",
    { class: "warnings" },
    matrix.notes.map((note) => h("li", {}, note[0].toUpperCase() + note.slice(1), ".")),
  );

function weightsTable({ languages, weights }) {
  return {
    caption: "What each language counts in the direction",
    columns: ["Language", "Share"],
    rows: languages.filter((tag) => tag in weights).map((tag) => [tag, share(weights[tag], 1)]),
  };
}

function cosinesTable(caption, languages, cosines) {
  return {
    caption,
    columns: ["Language", ...languages],
    rows: languages.map((tag, row) => [tag, ...cosines[row].map(number(2))]),
  };
}

export function conflicts({ order, conflicts: { languages }, stem }) {
  if (!Object.values(languages).some((row) => row.dropped))
    return h("p", { class: "note" }, "No pair with a score was dropped.");
  const isOfAll = Object.keys(languages).every((tag) => order.includes(tag));
  return [
    h(
      "p",
      { class: "hint" },
      "Of the dropped pairs of each language (rows, with their count), the share that pulls against the mean gradient of each other language (columns).",
    ),
    picture(
      `${stem}-conflicts`,
      (width) => conflictFlows({ languages, order: isOfAll ? order : undefined }, { width }),
      () => [conflictsTable(languages)],
    ).whole,
  ];
}

function conflictsTable(languages) {
  const tags = Object.keys(languages);
  const others = [...new Set([...tags, ...Object.values(languages).flatMap((row) => Object.keys(row.conflicts_with))])];
  const rows = tags.map((tag) => [
    tag,
    count(languages[tag].dropped),
    ...others.map((other) => count(languages[tag].conflicts_with[other] ?? 0)),
  ]);
  return {
    caption: "Dropped pairs that conflict with each language",
    columns: ["Language", "Dropped", ...others],
    rows,
  };
}
