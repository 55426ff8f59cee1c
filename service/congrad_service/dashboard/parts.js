/* Small parts of every view. */

import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { ago } from "./say.js";

const SECOND_MS = 1000;

/* A heading, a line on how to read what follows, and that. `id` is where links lead. */
export const Section = ({ id, title, hint, children, className = "" }) => html`
  <section id=${id} aria-labelledby=${`${id}-title`} class=${className}>
    <header class="section-head">
      <h2 id=${`${id}-title`}>${title}</h2>
      ${hint ? html`<p class="hint">${hint}</p>` : null}
    </header>
    ${children}
  </section>
`;

/* What the window and its history call the page. */
export function useTitle(title) {
  useEffect(() => {
    document.title = `${title} · CONGRAD`;
  }, [title]);
}

/* What to do where there is nothing yet. */
export const Empty = ({ title, children }) => html`
  <div class="empty">
    <p class="empty-title">${title}</p>
    ${children}
  </div>
`;

export const Problem = ({ error }) => html`<p class="problem">${error.message}</p>`;

export const Tag = ({ tag }) => html`<bdi class="tag" title=${tag}>${tag}</bdi>`;

/* A number with what it counts below it. */
export const Figure = ({ label, value, note, tone }) => html`
  <div class="figure">
    <dt>${label}</dt>
    <dd class=${tone ?? ""}>${value}</dd>
    ${note ? html`<dd class="note">${note}</dd>` : null}
  </div>
`;

const WIDE = { class: "wide-picture", role: "region", tabindex: "0" };

/* A picture as wide as its place, drawn by `draw(width)` anew when one of `data` changes; and as a table for who cannot
 * see it or wants to copy. */
export function Picture({ name, draw, data, table }) {
  const place = useRef(null);
  const width = useWidth(place);
  const [isWide, setWide] = useState(false);
  useLayoutEffect(() => {
    if (!width) return;
    const svg = draw(width);
    place.current.replaceChildren(svg);
    setWide(svg.width.baseVal.value > width);
  }, [width, ...data]);
  return html`
    <figure class="drawn">
      <div ref=${place} ...${isWide ? { ...WIDE, "aria-label": name } : {}}></div>
      ${table ? html`<${AsTable} table=${table} />` : null}
    </figure>
  `;
}

/* `table()` is only made once somebody looks: it can have thousands of cells. */
export function AsTable({ table }) {
  const [open, setOpen] = useState(false);
  return html`
    <details class="as-table" onToggle=${(event) => setOpen(event.currentTarget.open)}>
      <summary>As a table</summary>
      ${open ? html`<${Table} ...${table()} />` : null}
    </details>
  `;
}

function useWidth(element) {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const measure = () => setWidth(Math.floor(element.current.clientWidth));
    const observer = new ResizeObserver(measure);
    observer.observe(element.current);
    measure();
    return () => observer.disconnect();
  }, []);
  return width;
}

/* columns: [title]; rows: [[cell]], whose first cell heads the row. */
const Table = ({ caption, columns, rows }) => html`
  <${Scroll} label=${caption}>
    <table class="plain">
      <caption class="unseen">${caption}</caption>
      <thead><tr>${columns.map((column) => html`<th scope="col">${column}</th>`)}</tr></thead>
      <tbody>
        ${rows.map(
          ([head, ...cells]) => html`
            <tr>
              <th scope="row">${head}</th>
              ${cells.map((cell) => html`<td>${cell}</td>`)}
            </tr>
          `,
        )}
      </tbody>
    </table>
  <//>
`;

/* A place that scrolls sideways by itself, by keyboard as well, so that the page does not. */
export const Scroll = ({ label, children }) =>
  html`<div class="scroll" role="region" aria-label=${label} tabindex="0">${children}</div>`;

/* The time since then, kept up to date without a word to screen readers. */
export function Ago({ time }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), SECOND_MS * 5);
    return () => clearInterval(timer);
  }, []);
  return html`<time datetime=${time} title=${new Date(time).toLocaleString("en-GB")}>${ago(time)}</time>`;
}
