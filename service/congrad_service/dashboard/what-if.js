/* Another question about a job whose gradients are kept: another aggregator, or some of the languages only. It is
 * answered by `POST /jobs/{id}/rescore`, without a GPU, and changes nothing. */

import { html, useContext, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { Api } from "./api.js";
import { hasEnded } from "./jobs.js";
import { Section } from "./parts.js";
import { count, plural } from "./say.js";

const HINT = "Scored again from the gradients that are kept. Nothing is changed by asking.";
const AGGREGATORS = ["pcgrad", "agreement", "mean", "aligned_mtl", "cagrad", "dualproj", "imtl_g", "mgda", "upgrad"];
const POLL_MS = 500;

/* `onAnswer(answer)` is given another answer to show in the place of the job's; null goes back to that. */
export function WhatIf({ id, result, answer, onAnswer }) {
  const api = useContext(Api);
  const languages = Object.keys(result.direction.languages);
  const [heard, setHeard] = useState(languages);
  const [aggregator, setAggregator] = useState("");
  const [state, setState] = useState({});
  const left = useRef(null);
  useEffect(() => {
    left.current = new AbortController();
    return () => left.current.abort();
  }, []);
  const ask = async (event) => {
    event.preventDefault();
    const { signal } = left.current;
    setState({ busy: true });
    try {
      onAnswer(await rescored(api, id, question(aggregator, heard, languages), signal));
      setState({});
    } catch (error) {
      if (!signal.aborted) setState({ error });
    }
  };
  const hear = (tag) => setHeard(heard.includes(tag) ? heard.filter((one) => one !== tag) : [...heard, tag]);
  return html`
    <${Section} id="what-if" title="What if" hint=${HINT}>
      <form class="filters" onSubmit=${ask}>
        <label>
          <span>Aggregator</span>
          <select value=${aggregator} onChange=${(event) => setAggregator(event.currentTarget.value)}>
            <option value="">the direction’s</option>
            ${AGGREGATORS.map((name) => html`<option value=${name}>${name}</option>`)}
          </select>
        </label>
        <fieldset class="heard">
          <legend>Languages that are heard</legend>
          ${languages.map(
            (tag) => html`
              <label key=${tag}>
                <input type="checkbox" checked=${heard.includes(tag)} onChange=${() => hear(tag)} />
                <bdi>${tag}</bdi>
              </label>
            `,
          )}
        </fieldset>
        <button disabled=${state.busy || !heard.length}>Ask</button>
        ${answer ? html`<button type="button" onClick=${() => onAnswer(null)}>Back to the job’s answer</button>` : null}
      </form>
      <p class="hint" role="status">
        ${state.busy ? "Asking" : state.error ? state.error.message : answer ? changed(result, answer) : ""}
      </p>
    <//>
  `;
}

const question = (aggregator, heard, languages) => ({
  retain: true, // or the gradients would be dropped with the answer
  ...(aggregator ? { aggregator } : {}),
  ...(heard.length < languages.length ? { languages: heard } : {}),
});

/* The answer, which may take longer than a request is held: then it is a job, until that has ended. */
async function rescored(api, id, asked, signal) {
  let answer = await api.send(`jobs/${encodeURIComponent(id)}/rescore`, asked, signal);
  if (answer.decisions) return answer;
  while (!hasEnded(answer)) {
    await new Promise((rested) => setTimeout(rested, POLL_MS));
    answer = JSON.parse(await api.text(`jobs/${encodeURIComponent(answer.id)}`, signal));
  }
  if (answer.result) return answer.result;
  throw new Error(answer.error?.detail ?? `The question was ${answer.status}.`);
}

/* In words, how two answers about the same pairs differ. */
function changed(before, after) {
  const sides = after.decisions.map(({ keep }, place) => Number(keep) - Number(before.decisions[place].keep));
  const more = sides.filter((side) => side > 0).length;
  const fewer = sides.filter((side) => side < 0).length;
  if (!more && !fewer) return "Every pair would stay where it is.";
  const sorts = `${count(more)} kept instead of dropped, ${count(fewer)} dropped instead of kept`;
  return `${plural(more + fewer, "pair")} would change sides: ${sorts}. All below is what would be.`;
}
