// How much better than expected each step of some episodes went (chapter 11).
(() => {
  const living = (window.living = window.living || {});
  const { discount } = living.policyOfWalks;
  const PENALTY = 1e-5; // of the ridge regression behind what is expected

  // The discounted rewards to come, at each step.
  function toCome(rewards) {
    const sums = new Float64Array(rewards.length);
    for (let t = rewards.length - 1, sum = 0; t >= 0; t--) sums[t] = sum = rewards[t] + discount * sum;
    return sums;
  }

  // Solve a small linear system, with pivots.
  function solve(matrix, vector) {
    const rows = matrix.map((row, i) => [...row, vector[i]]);
    rows.forEach((_, k) => {
      const best = rows.reduce((top, row, i) => (i >= k && Math.abs(row[k]) > Math.abs(rows[top][k]) ? i : top), k);
      [rows[k], rows[best]] = [rows[best], rows[k]];
      rows.forEach((row, i) => {
        const share = i === k ? 0 : row[k] / rows[k][k];
        if (share !== 0) rows[i] = row.map((value, j) => value - share * rows[k][j]);
      });
    });
    return rows.map((row, k) => row[row.length - 1] / row[k]);
  }

  const features = ([x, y], t) => [x, y, x * x, y * y, t / 100, (t / 100) ** 2, (t / 100) ** 3, 1];
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

  // How much better than a linear model of place and time expects each step went; mean 0 and deviation 1 over all.
  living.advantagesOf = (episodes) => {
    const inputs = episodes.map(({ places, moves }) => moves.map((_, t) => features(places[t], t)));
    const targets = episodes.map(({ rewards }) => toCome(rewards));
    const gram = Array.from({ length: 8 }, (_, i) => Array.from({ length: 8 }, (_, j) => (i === j ? PENALTY : 0)));
    const sums = new Float64Array(8);
    inputs.forEach((rows, e) =>
      rows.forEach((row, t) =>
        row.forEach((value, i) => {
          sums[i] += value * targets[e][t];
          row.forEach((other, j) => (gram[i][j] += value * other));
        }),
      ),
    );
    const weights = solve(gram, sums);
    const left = inputs.map((rows, e) => rows.map((row, t) => targets[e][t] - dot(row, weights)));
    const all = left.flat();
    const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
    const deviation = Math.sqrt(all.reduce((sum, value) => sum + (value - mean) ** 2, 0) / all.length);
    return left.map((values) => values.map((value) => (value - mean) / (deviation + 1e-8)));
  };
})();
