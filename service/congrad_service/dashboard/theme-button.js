/* Light, dark, or as the system has it. */

import { html, useState } from "./vendor/htm-preact.js";

const KEY = "congrad-theme"; // as theme.js reads it
const NEXT = { system: "light", light: "dark", dark: "system" };
const SIGN = { system: "◐", light: "○", dark: "●" };

export function Theme() {
  const [theme, setTheme] = useState(localStorage.getItem(KEY) ?? "system");
  const choose = (next) => {
    if (next === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    setTheme(next);
  };
  const name = `Theme: ${theme}`;
  return html`
    <button class="quiet theme" title=${name} aria-label=${name} onClick=${() => choose(NEXT[theme])}>
      <span aria-hidden="true">${SIGN[theme]}</span>
    </button>
  `;
}
