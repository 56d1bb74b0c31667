// A point that looks for a goal it does not see, and the policy that adapts to it (chapter 11).
//
// A policy is {network, logStd}: from a place to the mean of a normal distribution over moves, the logarithms of whose
// deviations stand beside. An episode is {places, moves, rewards}: where it was before each step and at the end, moves
// as they were drawn, and minus the distances that were left.
(() => {
  const living = (window.living = window.living || {});
  const { sizes, numbers, innerRates } = living.policyOfWalks;
  const [HORIZON, NEAR, SPEED, EPISODES, STEPS] = [100, 0.01, 0.1, 20, 3];

  living.WALK = { horizon: HORIZON, episodes: EPISODES, steps: STEPS };

  living.trainedPolicy = () => {
    const all = living.float32(numbers);
    const [network, logStd] = [all.slice(0, -2), all.slice(-2)];
    return { network: living.network(sizes, network), logStd: Float64Array.from(logStd) };
  };

  // Normal random numbers, the same for the same seed (Box and Muller).
  living.normalNumbers = (seed) => {
    const random = living.randomNumbers(seed);
    return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  };

  const deviations = (policy) => policy.logStd.map((value) => Math.exp(Math.max(value, Math.log(1e-6))));
  const clip = (value) => Math.min(1, Math.max(-1, value));

  living.episode = (policy, goal, normal) => {
    const [places, moves, rewards] = [[[0, 0]], [], []];
    const deviation = deviations(policy);
    for (let t = 0; t < HORIZON; t++) {
      const mean = living.activations(policy.network, places[t]).pop();
      const move = [0, 1].map((i) => mean[i] + deviation[i] * normal());
      const place = places[t].map((value, i) => value + SPEED * clip(move[i]));
      const away = place.map((value, i) => value - goal[i]);
      moves.push(move);
      places.push(place);
      rewards.push(-Math.hypot(...away));
      if (away.every((value) => Math.abs(value) < NEAR)) break;
    }
    return { places, moves, rewards };
  };

  living.returnOf = (episode) => episode.rewards.reduce((sum, reward) => sum + reward, 0);

  // One step of policy gradient ascent on these episodes, a bit at a time: yields after each episode.
  living.policyStep = function* (policy, episodes, rate) {
    const advantages = living.advantagesOf(episodes);
    const count = advantages.flat().length;
    const [sums, stds] = [living.zeros(policy.network), new Float64Array(2)];
    const deviation = deviations(policy);
    for (const [e, { places, moves }] of episodes.entries()) {
      moves.forEach((move, t) => {
        const values = living.activations(policy.network, places[t]);
        const share = advantages[e][t] / count;
        const away = move.map((value, i) => (value - values[values.length - 1][i]) / deviation[i]);
        living.backward(policy.network, values, away.map((value, i) => (share * value) / deviation[i]), sums);
        away.forEach((value, i) => (stds[i] += share * (value * value - 1)));
      });
      yield;
    }
    const logStd = policy.logStd.map((value, i) => value + rate * stds[i]);
    return { network: living.movedBy(policy.network, sums, rate), logStd };
  };

  // Collect episodes and adapt to them, three times over: yields the list that it fills, {policy, episodes} by step.
  living.adaptToGoal = function* (policy, goal, seed) {
    const [normal, steps] = [living.normalNumbers(seed), []];
    for (let k = 0; k <= STEPS; k++) {
      steps.push({ policy, episodes: [] });
      for (let e = 0; e < EPISODES; e++) {
        steps[k].episodes.push(living.episode(policy, goal, normal));
        yield steps;
      }
      if (k < STEPS) {
        const rate = innerRates[Math.min(k, innerRates.length - 1)];
        const job = living.policyStep(policy, steps[k].episodes, rate);
        let next = job.next();
        for (; !next.done; next = job.next()) yield steps;
        policy = next.value;
      }
    }
    return steps;
  };
})();
