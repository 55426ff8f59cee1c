/* A slider for the threshold, in steps of a picture's bins, and beside it what follows from it. */

import { html } from "./vendor/htm-preact.js";
import { number } from "./say.js";

export function Threshold({ domain: [low, high], bin, threshold, onThreshold, children }) {
  return html`
    <div class="threshold">
      <label for="threshold">Threshold</label>
      <span class="value">${number(2)(threshold)}</span>
      <input
        id="threshold"
        type="range"
        min=${low}
        max=${high}
        step=${bin}
        value=${threshold}
        aria-valuetext=${number(2)(threshold)}
        onInput=${(event) => onThreshold(Math.round(event.currentTarget.valueAsNumber / bin) * bin)}
      />
      <output for="threshold">${children}</output>
    </div>
  `;
}
