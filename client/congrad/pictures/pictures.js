/* Pictures of directions and decisions: pure functions from data to an SVG element.
 *
 * Every picture is called as `picture(data, { width })`, `width` in pixels, and returns a detached
 * `<svg class="picture" role="img" aria-label="…">`. It draws with the globals `d3` and `Plot` (vendor/d3.min.js and
 * vendor/plot.min.js, loaded as classic scripts before) and takes its colours from the custom properties of
 * pictures.css, so that it follows light and dark without being drawn again. A matrix of very many languages can come
 * out wider.
 *
 *   cosineMatrix({ languages, before, after, order })
 *       languages: [tag]; before, after: [[cosine]], rows and columns as `languages` (`GET /directions/{name}`: the
 *       keys of its languages, cosines_before, cosines_after; `after` may be left out); order: [tag], by similarity if
 *       left out.
 *   scoreDistributions({ width, languages, threshold, onThreshold })
 *       as `GET /directions/{name}/scores` has it: width of a bin; languages: { tag: { count, mean, histogram } }, the
 *       bins (lo, hi] from -1 to 1. threshold: what scores above are dropped; onThreshold(value): called while it is
 *       dragged, where there is one.
 *   conflictFlows({ languages, order })
 *       as `GET /directions/{name}/conflicts` has it: { tag: { dropped, conflicts_with: { other: count } } }.
 *   overVersions({ history, measure })
 *       history: as `GET /directions/{name}/history` has it; measure: a key of MEASURES.
 *   samplesByLanguage({ samples, order })
 *       samples: { tag: count }.
 *
 * Beside them: similarityOrder(languages, cosines) -> [tag]; scoreDomain(languages, width) -> [low, high];
 * keptAt(language, width, threshold) -> count; histogram(scores, width) -> [count] for scores that have no bins yet;
 * and how numbers are said: number(digits), percent, count, significant.
 */

export { conflictFlows } from "./conflicts.js";
export { cosineMatrix } from "./cosines.js";
export { histogram, keptAt, scoreDomain } from "./histograms.js";
export { count, number, percent, significant } from "./numbers.js";
export { similarityOrder } from "./order.js";
export { samplesByLanguage } from "./samples.js";
export { scoreDistributions } from "./scores.js";
export { MEASURES, overVersions } from "./versions.js";
