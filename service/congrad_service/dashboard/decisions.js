/* The decisions of a job as a table to sort and filter, a page at a time, with the texts where the service has them. */

import { html, useContext, useEffect, useMemo, useState } from "./vendor/htm-preact.js";
import { Api } from "./api.js";
import { Scroll, Section, Tag } from "./parts.js";
import { count, plural, score } from "./say.js";

const PAGE = 50;

const HINT = "Click a heading to sort. A score above 0 means that following the pair hurts the consensus.";

const REASONS = {
  zero_gradient: "zero gradient: nothing to learn",
  no_direction: "no direction to compare with yet",
  non_finite_gradient: "gradient not finite",
  out_of_memory: "too long for the device’s memory",
  prompt_too_long: "the prompt leaves no room for a completion",
  template_refused: "refused by the chat template",
};

/* Where a message may have its reasoning. */
const REASONING = ["reasoning_content", "thinking", "reasoning"];

/* What is sorted by, from which end first, and whether it is a number. */
const COLUMNS = [
  { name: "position", title: "#", by: (row) => row.position, numeric: true },
  { name: "id", title: "Id", by: (row) => row.id },
  { name: "language", title: "Language", by: (row) => row.language },
  { name: "keep", title: "Decision", by: (row) => (row.keep ? 0 : 1) },
  { name: "conflict_score", title: "Conflict score", by: (row) => row.conflict_score, downFirst: true, numeric: true },
  { name: "conflicts_with", title: "Conflicts with", by: (row) => row.conflicts_with.length, downFirst: true },
  { name: "note", title: "Note", by: noteOf },
];

const SHOWN = {
  all: () => true,
  kept: (row) => row.keep,
  dropped: (row) => !row.keep,
  unscored: (row) => row.conflict_score === null,
  repeated: (row) => row.repeated,
};

export function Decisions({ id, decisions }) {
  const rows = useMemo(() => decisions.map((decision, position) => ({ ...decision, position })), [decisions]);
  const widest = useMemo(() => d3.max(rows, (row) => Math.abs(row.conflict_score)) || 1, [rows]);
  const languages = useMemo(() => [...new Set(rows.map((row) => row.language))].sort(), [rows]);
  const [wanted, setWanted] = useState({ text: "", language: "", shown: "all" });
  const [order, setOrder] = useState({ name: "position", down: false });
  const [page, setPage] = useState(0);
  const [texts, readTexts] = useTexts(id);
  const found = useMemo(
    () => sorted(rows.filter(matches(wanted, texts.data)), order),
    [rows, wanted, order, texts.data],
  );
  const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
  const here = Math.min(page, last);
  const want = (change) => {
    setWanted({ ...wanted, ...change });
    setPage(0);
  };
  return html`
    <${Section} id="decisions" title="Decisions" hint=${HINT}>
      <${Filters} wanted=${wanted} want=${want} languages=${languages} texts=${texts} readTexts=${readTexts} />
      <${Scroll} label="Table of decisions">
        <table class="decisions">
          <caption class="unseen">Decisions of the job</caption>
          <thead>
            <tr>
              ${COLUMNS.map((column) => html`<${Heading} key=${column.name} ...${{ column, order, setOrder }} />`)}
            </tr>
          </thead>
          <tbody>
            ${found
              .slice(here * PAGE, (here + 1) * PAGE)
              .map(
                (row) => html`<${Row} key=${row.position} texts=${texts.data?.[row.position]} ...${{ row, widest }} />`,
              )}
          </tbody>
        </table>
      <//>
      <${Pages} page=${here} last=${last} total=${found.length} setPage=${setPage} />
    <//>
  `;
}

/* The texts are only asked for when somebody wants to read them: most services keep none. */
function useTexts(id) {
  const api = useContext(Api);
  const [texts, setTexts] = useState({});
  useEffect(() => setTexts({}), [id]);
  const read = () =>
    api.text(`jobs/${encodeURIComponent(id)}/samples`).then(
      (text) => setTexts({ data: JSON.parse(text) }),
      (error) => setTexts({ error }),
    );
  return [texts, read];
}

function matches({ text, language, shown }, texts) {
  const needle = text.trim().toLowerCase();
  const holds = (value) => value.toLowerCase().includes(needle);
  return (row) =>
    SHOWN[shown](row) &&
    (!language || row.language === language) &&
    (!needle || holds(row.id) || (texts ? partsOf(texts[row.position]).some(([, said]) => holds(said)) : false));
}

/* Rows without a value come last, however it is sorted. */
function sorted(rows, { name, down }) {
  const { by } = COLUMNS.find((column) => column.name === name);
  const [without, having] = [rows.filter((row) => by(row) === null), rows.filter((row) => by(row) !== null)];
  return [
    ...d3.sort(having, (a, b) => (down ? d3.descending : d3.ascending)(by(a), by(b)) || a.position - b.position),
    ...without,
  ];
}

const Filters = ({ wanted, want, languages, texts, readTexts }) => html`
  <div class="filters">
    <label>
      <span>Find</span>
      <input
        type="search"
        value=${wanted.text}
        placeholder=${texts.data ? "id or text" : "id"}
        onInput=${(event) => want({ text: event.currentTarget.value })}
      />
    </label>
    <label>
      <span>Language</span>
      <select value=${wanted.language} onChange=${(event) => want({ language: event.currentTarget.value })}>
        <option value="">all</option>
        ${languages.map((tag) => html`<option value=${tag}>${tag}</option>`)}
      </select>
    </label>
    <label>
      <span>Decision</span>
      <select value=${wanted.shown} onChange=${(event) => want({ shown: event.currentTarget.value })}>
        <option value="all">all</option>
        <option value="kept">kept</option>
        <option value="dropped">dropped</option>
        <option value="unscored">without a score</option>
        <option value="repeated">repeated</option>
      </select>
    </label>
    ${texts.data ? null : html`<button onClick=${readTexts}>Show texts</button>`}
    ${texts.error ? html`<p class="hint" role="status">${texts.error.message}</p>` : null}
  </div>
`;

function Heading({ column: { name, title, numeric, downFirst = false }, order, setOrder }) {
  const chosen = order.name === name;
  const sort = chosen ? (order.down ? "descending" : "ascending") : undefined;
  return html`
    <th scope="col" class=${`at-${name} ${numeric ? "n" : ""}`} aria-sort=${sort}>
      <button class="sort" onClick=${() => setOrder({ name, down: chosen ? !order.down : downFirst })}>
        ${title}<span class="arrow" aria-hidden="true">${chosen ? (order.down ? "↓" : "↑") : ""}</span>
      </button>
    </th>
  `;
}

const Row = ({ row, texts, widest }) => html`
    <tr class=${row.keep ? "" : "is-dropped"}>
      <td class="n hint at-position">${row.position + 1}</td>
      <th scope="row"><bdi class="name" title=${row.id}>${row.id}</bdi></th>
      <td><${Tag} tag=${row.language} /></td>
      <td><span class=${row.keep ? "kept" : "dropped"}>${row.keep ? "kept" : "dropped"}</span></td>
      <td class="n"><${Score} value=${row.conflict_score} widest=${widest} /></td>
      <td class="tags">${row.conflicts_with.map((tag) => html`<${Tag} key=${tag} tag=${tag} />${" "}`)}</td>
      <td class="hint">${noteOf(row)}</td>
    </tr>
    ${texts ? html`<tr class="texts"><td colspan=${COLUMNS.length}><${Texts} texts=${texts} /></td></tr>` : null}
`;

/* A bar from the middle, to the left where the pair agrees and to the right where it conflicts, and the number. */
const Score = ({ value, widest }) =>
  value === null
    ? "–"
    : html`
        <span class="score">
          <span class="score-bar" aria-hidden="true">
            <span
              class=${value > 0 ? "conflict" : "agree"}
              style=${{ width: `${(50 * Math.abs(value)) / widest}%` }}
            ></span>
          </span>
          <span class="score-number">${score(value)}</span>
        </span>
      `;

function noteOf(row) {
  const reason = row.reason === null ? [] : [REASONS[row.reason] ?? row.reason];
  const notes = [
    [row.truncated, "cut to the checkpoint’s length"],
    [row.repeated, "in the direction already: counted once"],
  ];
  return [...reason, ...notes.filter(([holds]) => holds).map(([, note]) => note)].join("; ");
}

const Texts = ({ texts }) => html`
  <dl class="said">
    ${partsOf(texts).map(([part, said]) => html`<div class=${part}><dt>${part}</dt><dd dir="auto">${said}</dd></div>`)}
  </dl>
`;

/* A sample's texts, messages one below the other. */
function partsOf(sample) {
  return ["prompt", "chosen", "rejected", "completion"]
    .filter((part) => sample[part] !== undefined && sample[part] !== null)
    .map((part) => [part, typeof sample[part] === "string" ? sample[part] : sample[part].flatMap(linesOf).join("\n")]);
}

/* What a message says: a turn of tool calls alone has no content. */
function linesOf({ role, content, tool_calls: calls, ...others }) {
  const thoughts = REASONING.filter((name) => others[name]).map((name) => `${role}, thinking: ${others[name]}`);
  return [
    ...thoughts,
    ...(content === undefined || content === null ? [] : [`${role}: ${textOf(content)}`]),
    ...(calls?.length ? [`${role}, calling: ${JSON.stringify(calls)}`] : []),
  ];
}

const textOf = (content) => (typeof content === "string" ? content : content.map(({ text }) => text).join(""));

function Pages({ page, last, total, setPage }) {
  const from = page * PAGE;
  const to = Math.min(total, from + PAGE);
  return html`
    <nav class="pages" aria-label="Pages of decisions">
      <button disabled=${page === 0} onClick=${() => setPage(page - 1)}>Previous</button>
      <p role="status">
        ${total ? `${count(from + 1)}–${count(to)} of ${plural(total, "pair")}` : "No pair is like that"}
      </p>
      <button disabled=${page === last} onClick=${() => setPage(page + 1)}>Next</button>
    </nav>
  `;
}
