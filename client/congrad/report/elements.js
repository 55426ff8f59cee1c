/* Elements from data, and numbers as they are written. Whatever a sample holds is set as text and never read as markup. */

import { count, number, percent } from "../pictures/pictures.js";

export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style")
      for (const [property, of] of Object.entries(value)) element.style.setProperty(property, of);
    else if (value !== false && value != null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

export const share = (part, whole) => (whole ? percent(part / whole) : "–");
export const signed = (value) => (value == null ? "–" : `${value > 0 ? "+" : ""}${number(3)(value)}`);
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

const names = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });
const UNDETERMINED = "und"; // what is no language has a name of the browser's own, such as Chromium's "root"

/* The name of a language in English; its tag where there is none. */
export function languageName(tag) {
  if (tag === UNDETERMINED) return "Undetermined";
  try {
    return names.of(tag);
  } catch {
    return tag;
  }
}

const THEMES = { system: "◐", light: "○", dark: "●" };

/* Light, dark, or as the system has it: what is saved looks as the page does. */
export function themeButton() {
  const names = Object.keys(THEMES);
  const button = h("button", {
    type: "button",
    class: "quiet theme",
    onclick: () => choose(names[(names.indexOf(button.value) + 1) % names.length]),
  });
  function choose(name) {
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.value = name;
    button.textContent = THEMES[name];
    button.title = `Theme: ${name}`;
    button.setAttribute("aria-label", button.title);
  }
  choose("system");
  return button;
}
