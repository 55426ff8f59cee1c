/* Pictures on the page: as wide as there is room, with what saves them and the same as a table. */

import { h } from "./elements.js";
import { asPng, asSvg, save } from "./saving.js";

/* The same as a picture shows, for who cannot see it or wants to copy it. `table()` is made once somebody looks. */
function asTable({ caption, columns, rows }) {
  const cells = ([head, ...others]) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, head),
      others.map((cell) => h("td", { class: "number" }, cell)),
    );
  return h(
    "div",
    { class: "wide", role: "region", "aria-label": caption, tabindex: "0" },
    h(
      "table",
      { class: "plain" },
      h("caption", {}, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map((column) => h("th", { scope: "col" }, column)),
        ),
      ),
      h("tbody", {}, rows.map(cells)),
    ),
  );
}

function unfolding(tables) {
  const details = h("details", {}, h("summary", {}, "As a table"));
  details.addEventListener("toggle", () => details.append(...tables().map(asTable)), { once: true });
  return details;
}

/* A picture as wide as there is room, with what saves it. `draw(width)` gives it, and `tables()` the same in numbers. */
export function picture(name, draw, tables) {
  const frame = h("div", { class: "frame" });
  const redraw = () => frame.replaceChildren(draw(frame.clientWidth));
  const file = (suffix) => `${name}.${suffix}`;
  const saver = (kind, make) =>
    h(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-label": `Save this picture as ${kind}`,
        onclick: async () => save(await make(frame.querySelector("svg")), file(kind.toLowerCase())),
      },
      kind,
    );
  const whole = h(
    "figure",
    {},
    frame,
    h("figcaption", {}, tables && unfolding(tables), saver("SVG", asSvg), saver("PNG", asPng)),
  );
  let drawn = 0;
  new ResizeObserver(() => {
    if ([0, drawn].includes(frame.clientWidth)) return; // 0 while it is hidden
    drawn = frame.clientWidth;
    redraw();
  }).observe(frame);
  return { whole, redraw };
}
