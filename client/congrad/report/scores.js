/* How the conflict scores lie, and what a threshold would keep of them. */

import { h, plural, share } from "./elements.js";
import { picture } from "./figures.js";
import { count, keptAt, number, scoreDistributions, scoreDomain } from "../pictures/pictures.js";

export function scores({ scores: { width, languages }, threshold, selection, kept_by_score, stem }) {
  const rows = Object.values(languages);
  if (!rows.length) return h("p", { class: "note" }, "No pair has a score.");
  const total = rows.reduce((sum, row) => sum + row.count, 0);
  const start = threshold ?? 0;
  const [low, high] = scoreDomain(languages, width);
  let value = start;
  const said = h("output", {});
  const slider = h("input", {
    type: "range",
    min: low,
    max: high,
    step: width,
    oninput: (event) => move(Number(event.target.value)),
  });
  const drawing = picture(`${stem}-scores`, (room) =>
    scoreDistributions({ width, languages, threshold: value, onThreshold: move }, { width: room }),
  );
  const say = () => {
    const kept = rows.reduce((sum, row) => sum + keptAt(row, width, value), 0);
    const more = kept - kept_by_score;
    const change =
      more === 0
        ? "as many as in this run"
        : `${count(Math.abs(more))} ${more > 0 ? "more" : "fewer"} than in this run`;
    slider.value = value;
    slider.setAttribute("aria-valuetext", number(2)(value));
    said.replaceChildren(
      "At ",
      h("b", {}, number(2)(value)),
      ` ${count(kept)} of ${plural(total, "scored pair")} would be kept (${share(kept, total)}), ${change}.`,
    );
  };
  function move(to) {
    value = to;
    say();
    drawing.redraw();
  }
  say();
  return [
    h(
      "p",
      { class: "hint" },
      "The conflict score of a pair is minus the cosine of its gradient with the consensus of all languages. Above 0, following the pair hurts the consensus. Move the line to see what a threshold would keep; nothing changes by it.",
    ),
    threshold === null &&
      h(
        "p",
        { class: "note" },
        selection
          ? `This run kept ${selection}, so no single threshold divides its pairs.`
          : "No single threshold explains which pairs were kept; a share of each language may have been.",
      ),
    h(
      "p",
      { class: "tools" },
      h("label", { class: "slider" }, "Threshold ", slider),
      said,
      h("button", { type: "button", class: "quiet", onclick: () => move(start) }, "Reset"),
    ),
    drawing.whole,
  ];
}
