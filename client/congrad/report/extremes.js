/* The worst and the best pairs, of all languages or of one. */

import { h, languageName, signed } from "./elements.js";
import { facts, verdict } from "./pairs.js";
import { pairTexts } from "./texts.js";

const EXTREMES = 5; // pairs of either end

export function extremes(pairs) {
  const scored = pairs.filter((pair) => pair.score !== null).toSorted((a, b) => b.score - a.score);
  const tags = [...new Set(scored.map((pair) => pair.language))].toSorted();
  const lists = h("div", { class: "extremes", "aria-live": "polite" });
  const show = (tag) => {
    const own = tag ? scored.filter((pair) => pair.language === tag) : scored;
    const half = Math.min(EXTREMES, Math.ceil(own.length / 2));
    lists.replaceChildren(
      list("Most conflicting", own.slice(0, half)),
      list("Most in agreement", own.slice(half).slice(-EXTREMES).toReversed()),
    );
    lists.querySelectorAll(".card").forEach(offerWhole);
  };
  const choice = h(
    "select",
    { onchange: (event) => show(event.target.value) },
    h("option", { value: "" }, "all languages"),
    tags.map((tag) => h("option", { value: tag }, `${tag} · ${languageName(tag)}`)),
  );
  requestAnimationFrame(() => show("")); // what is cut off can be measured once it is on the page
  return [
    h(
      "p",
      { class: "tools" },
      h("label", {}, "Language ", choice),
      h("span", { class: "muted" }, "Shaded words are not in the other answer."),
    ),
    lists,
  ];
}

const list = (title, pairs) =>
  h("div", {}, h("h3", {}, title), pairs.length ? pairs.map(card) : h("p", { class: "muted" }, "No pairs."));

function card(pair) {
  const texts = pair.texts && h("div", { class: "clamped" }, pairTexts(pair.texts, pair.language));
  const more = h("button", { type: "button", class: "quiet", "aria-expanded": "false" }, "Whole texts");
  more.addEventListener("click", () => {
    const isWhole = !texts.classList.toggle("clamped");
    more.setAttribute("aria-expanded", isWhole);
    more.textContent = isWhole ? "Less" : "Whole texts";
  });
  return h(
    "article",
    { class: "card" },
    h(
      "p",
      { class: "facts" },
      h("b", { class: pair.score > 0 ? "is-dropped" : "is-kept" }, signed(pair.score)),
      verdict(pair),
      h("span", {}, pair.id),
      facts(pair),
    ),
    texts,
    texts && more,
  );
}

/* Where nothing is cut off, there is nothing to unfold. */
function offerWhole(article) {
  const isCut = [...article.querySelectorAll(".text")].some((text) => text.scrollHeight > text.clientHeight + 1);
  article.querySelector(".quiet")?.toggleAttribute("hidden", !isCut);
}
