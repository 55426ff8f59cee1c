/* What is said of all pairs: the key figures, and a table by language. */

import { h, languageName, plural, share, signed } from "./elements.js";
import { count } from "../pictures/pictures.js";

/* What a reason means; those of a newer service are shown by their name. */
const REASONS = {
  zero_gradient: "chosen and rejected are the same to the model, so there is nothing to learn; dropped",
  no_direction: "there was nothing yet to compare with; kept",
  non_finite_gradient: "the gradient has NaN or infinite entries; dropped",
  out_of_memory: "too long for the worker’s device; dropped",
  prompt_too_long: "the prompt alone is as long as the model reads, and TRL would not train on it; dropped",
  template_refused: "the model’s chat template refuses the conversation; dropped",
  unavailable: "the service did not answer, and the client decided",
};

export function headline({ source, summary, direction, made }) {
  const total = summary.kept + summary.dropped;
  const languages = Object.keys(summary.by_language).length;
  const against = direction && [
    ", scored against version ",
    h("b", {}, String(direction.version)),
    " of direction ",
    h("b", {}, direction.name),
    " of ",
    h("b", {}, direction.checkpoint),
  ];
  return h(
    "header",
    {},
    h("h1", {}, source),
    h("p", { class: "lead" }, plural(total, "pair"), " in ", plural(languages, "language"), against ?? "", "."),
    h("p", { class: "muted" }, new Date(made).toLocaleDateString("en-GB", { dateStyle: "long" })),
  );
}

export function figures({ summary, without_score, truncated, selection }) {
  const total = summary.kept + summary.dropped;
  const without = Object.values(without_score).reduce((sum, number) => sum + number, 0);
  const figure = (name, value, detail, kind) =>
    h(
      "div",
      { class: `figure ${kind ?? ""}` },
      h("dt", {}, name),
      h("dd", {}, h("b", {}, value), detail && h("span", {}, detail)),
    );
  return [
    h(
      "dl",
      { class: "figures" },
      figure("Kept", count(summary.kept), share(summary.kept, total), "is-kept"),
      figure("Dropped", count(summary.dropped), share(summary.dropped, total), "is-dropped"),
      figure("Without a score", count(without)),
      figure("Truncated", count(truncated)),
      summary.repeated > 0 && figure("Repeated", count(summary.repeated), "counted once"),
    ),
    h(
      "div",
      { class: "share", role: "img", "aria-label": `${share(summary.kept, total)} kept` },
      h("span", { style: { "flex-grow": summary.kept } }),
      h("span", { style: { "flex-grow": summary.dropped } }),
    ),
    selection && h("p", { class: "muted" }, "Kept: ", selection, "."),
    without > 0 &&
      h(
        "ul",
        { class: "reasons" },
        Object.entries(without_score).map(([reason, number]) =>
          h(
            "li",
            {},
            `${count(number)} without a score, `,
            h("code", {}, reason),
            REASONS[reason] && `: ${REASONS[reason]}`,
          ),
        ),
      ),
  ];
}

const MEASURES = [
  { name: "Language", value: (row) => row.tag, text: true },
  { name: "Pairs", value: (row) => row.pairs },
  { name: "Kept", value: (row) => row.kept },
  { name: "Dropped", value: (row) => row.dropped },
  { name: "Share kept", value: (row) => row.kept / row.pairs },
  { name: "Mean conflict", value: (row) => row.mean_conflict ?? -2 },
];

export function languagesTable({ summary }) {
  const rows = Object.entries(summary.by_language).map(([tag, own]) => ({
    tag,
    ...own,
    pairs: own.kept + own.dropped,
  }));
  const most = Math.max(0.01, ...rows.map((row) => Math.abs(row.mean_conflict ?? 0)));
  const body = h("tbody");
  let column = 5;
  let isUp = false;
  const heads = MEASURES.map(({ name, text }, index) =>
    h(
      "th",
      { scope: "col", class: text ? "" : "number" },
      h("button", { type: "button", class: "sort", onclick: () => sort(index) }, name),
    ),
  );
  const sort = (index) => {
    isUp = index === column ? !isUp : Boolean(MEASURES[index].text);
    column = index;
    fill();
  };
  const fill = () => {
    const { value } = MEASURES[column];
    const order = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (isUp ? 1 : -1);
    body.replaceChildren(...rows.toSorted(order).map((row) => languageRow(row, most)));
    heads.forEach((head, index) =>
      index === column
        ? head.setAttribute("aria-sort", isUp ? "ascending" : "descending")
        : head.removeAttribute("aria-sort"),
    );
  };
  fill();
  return h(
    "div",
    { class: "wide", role: "region", "aria-label": "Counts by language", tabindex: "0" },
    h("table", { class: "languages" }, h("thead", {}, h("tr", {}, heads)), body),
  );
}

function languageRow({ tag, pairs, kept, dropped, mean_conflict }, most) {
  const name = languageName(tag);
  const meter = h("span", { class: "meter" }, h("span", { style: { width: `${(100 * kept) / pairs}%` } }));
  const reach = `${(50 * Math.abs(mean_conflict ?? 0)) / most}%`;
  const side = (mean_conflict ?? 0) > 0 ? { left: "50%", width: reach } : { right: "50%", width: reach };
  const mean = h(
    "span",
    { class: "scale" },
    h("span", { class: mean_conflict > 0 ? "is-dropped" : "is-kept", style: side }),
  );
  return h(
    "tr",
    {},
    h(
      "th",
      { scope: "row" },
      h("span", { class: "tag" }, tag),
      name !== tag && h("span", { class: "muted" }, ` ${name}`),
    ),
    [pairs, kept, dropped].map((number) => h("td", { class: "number" }, count(number))),
    h("td", { class: "number" }, meter, share(kept, pairs)),
    h("td", { class: "number" }, mean, signed(mean_conflict)),
  );
}
