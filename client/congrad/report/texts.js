/* The texts of a pair as they are read: plain, or the turns of a conversation, each in its own direction of writing. */

import { h } from "./elements.js";

const MOST_CHANGES = 400; // words; texts that differ in more have little in common, and take long to compare
const LEAST_IN_COMMON = 0.5; // of the shorter text: marks all over help nobody

const PARTS = ["Prompt", "Chosen", "Rejected"];
const PARTS_OF_COMPLETIONS = ["Prompt", "Completion"];

/* The words of a text, as [words, whether the other text has them not]; null where the texts have too little in common. */
function changes(before, after, tag) {
  let intlSegmenter;
  try {
    intlSegmenter = new Intl.Segmenter(tag, { granularity: "word" });
  } catch {
    intlSegmenter = new Intl.Segmenter("en", { granularity: "word" });
  }
  const found = Diff.diffWordsWithSpace(before, after, { intlSegmenter, maxEditLength: MOST_CHANGES });
  const shared = (found ?? [])
    .filter((part) => !part.added && !part.removed)
    .reduce((sum, part) => sum + part.value.length, 0);
  if (shared < LEAST_IN_COMMON * Math.min(before.length, after.length)) return null;
  const side = (other, own) => found.filter((part) => !part[other]).map((part) => [part.value, Boolean(part[own])]);
  return [side("added", "removed"), side("removed", "added")];
}

const single = (part) => (typeof part === "string" ? part : part?.length === 1 ? part[0][1] : null);

/* Chosen and rejected, with what the other one does not have. Conversations of several turns are left alone. */
function marked(texts, tag) {
  const [chosen, rejected] = texts.slice(1).map(single);
  return chosen == null || rejected == null ? null : changes(chosen, rejected, tag);
}

function text(value, tag, words) {
  const content = words ? words.map(([part, isOwn]) => (isOwn ? h("span", { class: "differs" }, part) : part)) : value;
  return h("div", { class: "text", dir: "auto", lang: tag }, value === "" ? h("em", {}, "empty") : content);
}

function turns(value, tag, words) {
  if (typeof value === "string") return text(value, tag, words);
  return value.map(([role, content]) =>
    h("div", { class: "turn" }, h("span", { class: "role" }, role), text(content, tag, words)),
  );
}

/* Prompt, chosen and rejected of a pair. */
export function pairTexts(texts, tag) {
  const names = texts.length === 2 ? PARTS_OF_COMPLETIONS : PARTS;
  const words = texts.length === 3 ? marked(texts, tag) : null;
  const part = (value, index) =>
    value == null
      ? null
      : h(
          "section",
          { class: `part part-${names[index].toLowerCase()}` },
          h("p", { class: "part-name" }, names[index]),
          turns(value, tag, index ? words?.[index - 1] : null),
        );
  return h("div", { class: "texts" }, texts.map(part));
}

/* All that a pair says, as one string. */
export const flat = (texts) =>
  (texts ?? [])
    .map((part) => (Array.isArray(part) ? part.map(([, content]) => content).join("\n") : (part ?? "")))
    .join("\n");
