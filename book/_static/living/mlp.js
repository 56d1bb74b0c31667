// A multilayer perceptron with ReLU, its gradients, and the steps of its adaptation to points (chapters 5 and 11).
//
// A network is a list of layers {inputs, outputs, weight, bias}, weight row by row: outputs x inputs numbers.
(() => {
  const living = (window.living = window.living || {});

  // The network of these sizes from one list of numbers: for each layer its weight, then its bias.
  living.network = (sizes, numbers) => {
    let at = 0;
    const take = (count) => Float64Array.from(numbers.slice(at, (at += count)));
    return sizes.slice(1).map((outputs, i) => {
      const inputs = sizes[i];
      return { inputs, outputs, weight: take(inputs * outputs), bias: take(outputs) };
    });
  };

  // Random numbers in [0, 1), the same for the same seed (mulberry32).
  living.randomNumbers = (seed) => () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };

  // Random weights as PyTorch draws them: uniform within 1 / sqrt(inputs) of zero.
  living.randomNetwork = (sizes, seed) => {
    const random = living.randomNumbers(seed);
    const numbers = sizes.slice(1).flatMap((outputs, i) => {
      const bound = 1 / Math.sqrt(sizes[i]);
      return Array.from({ length: outputs * (sizes[i] + 1) }, () => bound * (2 * random() - 1));
    });
    return living.network(sizes, numbers);
  };

  // What each layer gives out for one input, a list of numbers, the input first; ReLU after all layers but the last.
  living.activations = (network, input) => {
    const values = [Float64Array.from(input)];
    network.forEach(({ inputs, outputs, weight, bias }, i) => {
      const source = values[i];
      const target = new Float64Array(outputs);
      for (let o = 0; o < outputs; o++) {
        let sum = bias[o];
        for (let k = 0, w = o * inputs; k < inputs; k++) sum += weight[w + k] * source[k];
        target[o] = i < network.length - 1 && sum < 0 ? 0 : sum;
      }
      values.push(target);
    });
    return values;
  };

  living.predict = (network, xs) => xs.map((x) => living.activations(network, [x]).pop()[0]);

  living.squaredError = (predicted, ys) =>
    ys.reduce((sum, y, i) => sum + (predicted[i] - y) ** 2, 0) / ys.length;

  // A network of zeros of the same form, to add up a gradient in.
  living.zeros = (network) =>
    network.map((layer) => ({
      ...layer,
      weight: new Float64Array(layer.weight.length),
      bias: new Float64Array(layer.bias.length),
    }));

  // Add to `sums` what one example gives to the gradient: `slopes` are those of the loss by the network's outputs.
  living.backward = (network, values, slopes, sums) => {
    let above = Float64Array.from(slopes);
    for (let i = network.length - 1; i >= 0; i--) {
      const { inputs, outputs, weight } = network[i];
      const source = values[i];
      const below = new Float64Array(inputs);
      for (let o = 0; o < outputs; o++) {
        if (above[o] === 0) continue;
        sums[i].bias[o] += above[o];
        for (let k = 0, w = o * inputs; k < inputs; k++) {
          sums[i].weight[w + k] += above[o] * source[k];
          below[k] += above[o] * weight[w + k];
        }
      }
      above = i > 0 ? below.map((value, k) => (source[k] > 0 ? value : 0)) : below;
    }
  };

  // The network moved by `rate` times another of its form.
  living.movedBy = (network, direction, rate) => {
    const move = (values, slopes) => values.map((value, k) => value + rate * slopes[k]);
    return network.map((layer, i) => ({
      ...layer,
      weight: move(layer.weight, direction[i].weight),
      bias: move(layer.bias, direction[i].bias),
    }));
  };

  // The gradient of the mean squared error, of the network's own form.
  living.gradientOf = (network, xs, ys) => {
    const sums = living.zeros(network);
    xs.forEach((x, i) => {
      const values = living.activations(network, [x]);
      living.backward(network, values, [(2 * (values[values.length - 1][0] - ys[i])) / xs.length], sums);
    });
    return sums;
  };

  // The networks after 0, 1, … steps of plain gradient descent.
  living.adapt = (network, xs, ys, rate, steps) => {
    const path = [network];
    for (let step = 0; step < steps; step++) {
      path.push(living.movedBy(path[step], living.gradientOf(path[step], xs, ys), -rate));
    }
    return path;
  };

  // How far each layer, weight and bias together, has moved, as a share of its own length before.
  living.moved = (before, after) =>
    before.map(({ weight, bias }, i) => {
      const change = living.squaredDistance(weight, after[i].weight) + living.squaredDistance(bias, after[i].bias);
      const length = [...weight, ...bias].reduce((sum, value) => sum + value * value, 0);
      return Math.sqrt(change / length);
    });
})();
