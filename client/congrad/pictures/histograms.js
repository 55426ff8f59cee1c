/* Conflict scores counted in bins (lo, hi] from -1 to 1. */

/* How many scores of a language are kept at a threshold: those in bins whose upper edge is not above it. */
export function keptAt({ histogram }, width, threshold) {
  return d3.sum(histogram.slice(0, Math.round((threshold + 1) / width)));
}

/* Counts in bins (lo, hi] from -1 to 1, the first one closed. */
export function histogram(scores, width) {
  const bins = new Array(Math.round(2 / width)).fill(0);
  for (const score of scores)
    bins[Math.min(bins.length - 1, Math.max(0, Math.ceil((score + 1) / width - 1e-9) - 1))] += 1;
  return bins;
}

/* The scores that a picture shows: those that there are, zero, and some room. */
export function scoreDomain(languages, width) {
  const used = Object.values(languages).flatMap(({ histogram }) => histogram.flatMap((n, bin) => (n ? [bin] : [])));
  const low = Math.min(-0.05, d3.min(used) * width - 1) || -0.05;
  const high = Math.max(0.05, (d3.max(used) + 1) * width - 1) || 0.05;
  const room = 0.06 * (high - low);
  return [Math.max(-1, Math.floor((low - room) * 20) / 20), Math.min(1, Math.ceil((high + room) * 20) / 20)];
}

/* The scores of one language as a smooth curve at the edges of the bins; the area under it is 1. */
export function density({ tag, base, histogram, count: total }, bin, [low, high]) {
  const centres = histogram.map((_, index) => (index + 0.5) * bin - 1);
  const mean = d3.sum(histogram, (n, index) => n * centres[index]) / total;
  const deviation = Math.sqrt(d3.sum(histogram, (n, index) => n * (centres[index] - mean) ** 2) / total);
  const reach = Math.min(0.05, Math.max(bin, 0.9 * deviation * total ** -0.2)); // Silverman's rule, within bounds
  const used = centres.map((centre, index) => [centre, histogram[index]]).filter(([, n]) => n);
  const edges = d3.range(Math.round((low + 1) / bin), Math.round((high + 1) / bin) + 1).map((edge) => edge * bin - 1);
  return edges.map((score) => ({
    tag,
    base,
    score,
    density: d3.sum(used, ([centre, n]) => n * Math.exp(-(((score - centre) / reach) ** 2) / 2)) / (total * reach),
  }));
}
