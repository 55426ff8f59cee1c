/* Languages so that alike ones are neighbours: average linkage, each merge turned so that the closest ends meet. */
export function similarityOrder(languages, cosines) {
  const likeness = (i, j) => (cosines[i][j] + cosines[j][i]) / 2;
  let groups = languages.map((_, index) => [index]);
  const linkage = ([a, b]) => d3.mean(d3.cross(a, b, likeness));
  const turned = ([a, b]) =>
    d3
      .greatest(d3.cross([a, a.toReversed()], [b, b.toReversed()]), ([left, right]) => likeness(left.at(-1), right[0]))
      .flat();
  while (groups.length > 1) {
    const pairs = groups.flatMap((a, index) => groups.slice(index + 1).map((b) => [a, b]));
    const closest = d3.greatest(pairs, linkage) ?? pairs[0];
    groups = [...groups.filter((group) => !closest.includes(group)), turned(closest)];
  }
  return groups.flat().map((index) => languages[index]);
}
