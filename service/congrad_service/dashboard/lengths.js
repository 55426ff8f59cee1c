/* How far conflict scores follow the length of the answers, as `congrad.report.lengths` has it. */

const FEWEST = 10;

/* Spearman's rank correlation of conflict score and ratio of lengths, by language, where there are enough pairs. */
export function lengthSpearman(decisions) {
  const known = decisions.filter((one) => one.conflict_score !== null && (one.length_ratio ?? null) !== null);
  return d3
    .groups(known, (one) => one.language)
    .filter(([, own]) => own.length >= FEWEST)
    .map(([tag, own]) => [tag, spearman(own)])
    .filter(([, value]) => Number.isFinite(value))
    .sort(([a], [b]) => d3.ascending(a, b));
}

function spearman(decisions) {
  const scores = ranks(decisions.map((one) => one.conflict_score));
  const ratios = ranks(decisions.map((one) => one.length_ratio));
  const [meanScore, meanRatio] = [d3.mean(scores), d3.mean(ratios)];
  const both = d3.sum(scores, (rank, i) => (rank - meanScore) * (ratios[i] - meanRatio));
  const square = (values, mean) => d3.sum(values, (value) => (value - mean) ** 2);
  return both / Math.sqrt(square(scores, meanScore) * square(ratios, meanRatio)); // no number where all are alike
}

/* Those of equal values are the mean of their places. */
function ranks(values) {
  const sorted = d3.sort(values);
  return values.map((value) => (d3.bisectLeft(sorted, value) + d3.bisectRight(sorted, value) - 1) / 2);
}
