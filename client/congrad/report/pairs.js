/* Pairs as the page holds them, and what is said of each. */

import { h, languageName } from "./elements.js";

/* Pairs as they are stored, unpacked by the browser itself. */
export async function readPairs(packed) {
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const rows = await new Response(stream).json();
  return rows.map(([id, language, keep, score, conflicts, truncated, repeated, reason, texts, position]) => ({
    id,
    language,
    keep,
    score,
    conflicts,
    truncated,
    repeated,
    reason,
    texts,
    position,
  }));
}

export const verdict = ({ keep }) =>
  h("span", { class: `verdict ${keep ? "is-kept" : "is-dropped"}` }, keep ? "kept" : "dropped");

export function facts({ language, conflicts, truncated, repeated, reason }) {
  return [
    h("span", {}, languageName(language)),
    conflicts.length > 0 && h("span", {}, "conflicts with ", conflicts.join(", ")),
    truncated && h("span", {}, "truncated"),
    repeated && h("span", {}, "repeated"),
    reason && h("span", {}, "no score: ", h("code", {}, reason)),
  ];
}
