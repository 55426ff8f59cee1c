/* The page: its sections, drawn from the data that the file holds. */

import { h, plural, themeButton } from "./elements.js";
import { conflicts, cosines, notes, orderOf } from "./languages.js";
import { figures, headline, languagesTable } from "./overview.js";
import { extremes } from "./extremes.js";
import { readPairs } from "./pairs.js";
import { scores } from "./scores.js";
import { pairsTable } from "./table.js";
import { count } from "../pictures/pictures.js";

const report = JSON.parse(document.getElementById("summary").textContent);
report.stem = report.source.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}._-]+/gu, "-") || "report";
report.order = orderOf(report); // once: pictures are drawn again whenever the page is wider or narrower

function section(id, title, ...content) {
  document.getElementById("sections").append(h("li", {}, h("a", { href: `#${id}` }, title)));
  const made = h(
    "section",
    { id, "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title` }, title),
    ...content,
  );
  document.getElementById("main").append(made);
  return made;
}

function settings({ command, settings }) {
  return [
    command && h("pre", { tabindex: "0", role: "region", "aria-label": "Command" }, h("code", {}, command)),
    h(
      "dl",
      { class: "settings" },
      settings.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    ),
  ];
}

async function showPairs(places) {
  const pairs = await readPairs(document.getElementById("pairs").textContent);
  places[0].append(...extremes(pairs));
  places[1].append(...pairsTable(pairs));
}

document.getElementById("theme").append(themeButton());
document.getElementById("main").append(headline(report));
section("overview", "Overview", figures(report), notes(report));
section("languages", "Languages", languagesTable(report));
section("scores", "Conflict scores", scores(report));
section("agreement", "Agreement", cosines(report));
section("conflicts", "Conflicts", conflicts(report));
const total = report.summary.kept + report.summary.dropped;
const extent =
  report.shown < total &&
  h(
    "p",
    { class: "note" },
    `The ${count(report.shown)} most telling of ${plural(total, "pair")}: from both ends of each language’s scores inwards. The pictures and counts above are of all.`,
  );
const noTexts =
  !report.with_texts &&
  h(
    "p",
    { class: "note" },
    "Without texts: ",
    h("code", {}, "congrad report … --samples IN"),
    " takes them from the file that was filtered.",
  );
const places = [section("extremes", "Worst and best", noTexts), section("pairs-table", "All pairs", extent)];
section("run", "This run", settings(report));
document.getElementById("made").textContent =
  `Made by congrad on ${new Date(report.made).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" })}. This file holds all it shows and asks no network for anything.`;
await showPairs(places);
