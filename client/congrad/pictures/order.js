/* Languages so that alike ones are neighbours: average linkage, each merge turned so that the closest ends meet. */
export function similarityOrder(languages, cosines) {
  const likeness = languages.map((_, i) => languages.map((_, j) => (cosines[i][j] + cosines[j][i]) / 2));
  const sums = likeness.map((row) => [...row]); // between groups, kept up to date: a mean over all their pairs is dear
  let groups = languages.map((_, row) => ({ row, members: [row] }));
  groups.forEach((group, place) => findNearest(group, groups.slice(place + 1), sums));
  while (groups.length > 1) {
    const a = d3.greatest(groups, ({ linkage }) => linkage);
    const b = a.nearest;
    const merged = { row: a.row, members: turned(a.members, b.members, likeness), linkage: -Infinity };
    groups = groups.filter((group) => group !== a && group !== b);
    for (const { row } of groups) sums[row][a.row] = sums[a.row][row] += sums[b.row][row];
    groups.forEach((group, place) => {
      if ([a, b].includes(group.nearest)) findNearest(group, groups.slice(place + 1), sums);
      compare(group, merged, sums);
    });
    groups.push(merged);
  }
  return groups.flatMap(({ members }) => members.map((index) => languages[index]));
}

/* Which of the groups behind it a group is most like on average: the first of those that are so equally. */
function findNearest(group, others, sums) {
  group.linkage = -Infinity;
  for (const other of others) compare(group, other, sums);
}

function compare(group, other, sums) {
  const linkage = sums[group.row][other.row] / (group.members.length * other.members.length);
  if (linkage > group.linkage) Object.assign(group, { linkage, nearest: other });
}

const turned = (a, b, likeness) =>
  d3
    .greatest(d3.cross([a, a.toReversed()], [b, b.toReversed()]), ([left, right]) => likeness[left.at(-1)][right[0]])
    .flat();
