/* All pairs as a table to search, sort and filter, a page at a time. */

import { h, languageName, plural, signed } from "./elements.js";
import { facts, verdict } from "./pairs.js";
import { flat, pairTexts } from "./texts.js";
import { count } from "../pictures/pictures.js";

const PAGE = 50; // rows
const EXCERPT = 140; // characters

const COLUMNS = [
  { name: "Pair", value: (pair) => pair.position, up: true },
  { name: "Language", value: (pair) => pair.language, up: true },
  { name: "Decision", value: (pair) => Number(pair.keep), up: true },
  { name: "Conflict", value: (pair) => pair.score ?? -2 },
  { name: "Conflicts with", value: (pair) => pair.conflicts.length, class: "others" },
];

const FILTERS = {
  "all decisions": () => true,
  kept: (pair) => pair.keep,
  dropped: (pair) => !pair.keep,
  "without a score": (pair) => pair.score === null,
  truncated: (pair) => pair.truncated,
  repeated: (pair) => pair.repeated,
};

export function pairsTable(pairs) {
  const wanted = { words: "", language: "", decision: "all decisions", column: 3, isUp: false, page: 0 };
  const hasTexts = pairs.some((pair) => pair.texts);
  const body = h("tbody");
  const found = h("p", { class: "muted", role: "status" });
  const [back, forth] = ["Previous", "Next"].map((name, side) =>
    h("button", { type: "button", onclick: () => show({ page: wanted.page + 2 * side - 1 }) }, name),
  );
  const heads = COLUMNS.map((column, index) =>
    h(
      "th",
      { scope: "col", class: column.class },
      h("button", { type: "button", class: "sort", onclick: () => sort(index) }, column.name),
    ),
  );
  const sort = (index) =>
    show({ column: index, isUp: index === wanted.column ? !wanted.isUp : Boolean(COLUMNS[index].up), page: 0 });

  function show(change) {
    Object.assign(wanted, change);
    const rows = matching(pairs, wanted);
    const first = wanted.page * PAGE;
    const shown = rows.slice(first, first + PAGE);
    body.replaceChildren(...shown.flatMap((pair) => tableRows(pair, wanted.words, hasTexts)));
    found.textContent =
      rows.length > PAGE
        ? `${count(first + 1)} to ${count(first + shown.length)} of ${plural(rows.length, "pair")}`
        : rows.length
          ? plural(rows.length, "pair")
          : "No pair is like that.";
    back.disabled = wanted.page === 0;
    forth.disabled = first + PAGE >= rows.length;
    heads.forEach((head, index) =>
      index === wanted.column
        ? head.setAttribute("aria-sort", wanted.isUp ? "ascending" : "descending")
        : head.removeAttribute("aria-sort"),
    );
  }
  show({});
  const table = h(
    "table",
    { class: "pairs" },
    h("thead", {}, h("tr", {}, heads, hasTexts && h("th", { scope: "col", class: "excerpt" }, "Texts"))),
    body,
  );
  return [
    tools(pairs, hasTexts, (change) => show({ ...change, page: 0 })),
    found,
    table,
    h("p", { class: "tools" }, back, forth),
  ];
}

function tools(pairs, hasTexts, onChange) {
  const tags = [...new Set(pairs.map((pair) => pair.language))].toSorted();
  const placeholder = hasTexts ? "words, or the name of a pair" : "the name of a pair";
  return h(
    "form",
    { class: "tools", role: "search", onsubmit: (event) => event.preventDefault() },
    h(
      "label",
      { class: "search" },
      "Search ",
      h("input", { type: "search", placeholder, oninput: (event) => onChange({ words: event.target.value }) }),
    ),
    h(
      "label",
      {},
      "Language ",
      h(
        "select",
        { onchange: (event) => onChange({ language: event.target.value }) },
        h("option", { value: "" }, "all"),
        tags.map((tag) => h("option", { value: tag }, `${tag} · ${languageName(tag)}`)),
      ),
    ),
    h(
      "label",
      {},
      "Decision ",
      h(
        "select",
        { onchange: (event) => onChange({ decision: event.target.value }) },
        Object.keys(FILTERS).map((name) => h("option", {}, name)),
      ),
    ),
  );
}

/* Letters as they are compared: in any case, however they are composed. */
const folded = (text) => text.normalize("NFC").toLowerCase();

function matching(pairs, { words, language, decision, column, isUp }) {
  const sought = folded(words.trim());
  const { value } = COLUMNS[column];
  const isFound = (pair) => {
    pair.searched ??= sought ? folded(`${pair.id}\n${flat(pair.texts)}`) : undefined;
    return !sought || pair.searched.includes(sought);
  };
  const order = (a, b) =>
    (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : a.position - b.position) * (isUp ? 1 : -1);
  return pairs
    .filter((pair) => (!language || pair.language === language) && FILTERS[decision](pair) && isFound(pair))
    .toSorted(order);
}

function tableRows(pair, words, hasTexts) {
  const details = h("tr", { class: "details", hidden: true });
  const opener = h(
    "button",
    { type: "button", class: "opener", "aria-expanded": "false", disabled: !pair.texts },
    pair.id,
  );
  const row = h(
    "tr",
    {},
    h("th", { scope: "row" }, opener),
    h("td", {}, pair.language),
    h("td", {}, verdict(pair)),
    h("td", { class: "number" }, signed(pair.score)),
    h("td", { class: "others" }, pair.conflicts.join(" ") || pair.reason),
    hasTexts &&
      h("td", { class: "excerpt", dir: "auto", lang: pair.language }, excerpt(flat(pair.texts), words.trim())),
  );
  const toggle = () => {
    details.hidden = !details.hidden;
    opener.setAttribute("aria-expanded", !details.hidden);
    const colspan = [...row.cells].filter((cell) => cell.offsetWidth).length; // a phone has fewer columns
    details.replaceChildren(
      h("td", { colspan }, h("p", { class: "facts" }, facts(pair)), pairTexts(pair.texts, pair.language)),
    );
  };
  if (pair.texts) row.addEventListener("click", toggle);
  return [row, details];
}

/* The beginning of a text, or what stands around the words that were sought. */
function excerpt(text, words) {
  const at = words ? folded(text).indexOf(folded(words)) : -1;
  if (at < 0) return text.slice(0, EXCERPT);
  const start = Math.max(0, at - EXCERPT / 3);
  return [
    start ? "…" : "",
    text.slice(start, at),
    h("mark", {}, text.slice(at, at + words.length)),
    text.slice(at + words.length, start + EXCERPT),
  ];
}
