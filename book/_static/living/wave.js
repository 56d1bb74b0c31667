// One wave, five points of it, and a network that adapts to them: everything that the picture of chapter 5 shows.
(() => {
  const living = (window.living = window.living || {});
  const STEPS = 10;
  const { sizes, innerRate, maml, joint } = living.startsOfWaves;
  const INPUTS = Array.from({ length: 101 }, (_, i) => -5 + i / 10);
  const trained = (text) => living.network(sizes, living.float32(text));

  living.WAVES = { x: [-5, 5], amplitude: [0.1, 5], phase: [0, Math.PI], steps: STEPS, innerRate, inputs: INPUTS };
  living.STARTS = {
    maml: { name: "MAML’s start", network: () => trained(maml) },
    joint: { name: "the start of joint training", network: () => trained(joint) },
    random: { name: "random weights", network: (seed) => living.randomNetwork(sizes, seed) },
  };

  living.waveAt = ({ amplitude, phase }, x) => amplitude * Math.sin(x - phase);

  // For 0, 1, … 10 steps from a start: the curve at WAVES.inputs, the mean squared errors on the points and on the wave
  // at these inputs, and how far each layer has moved. `points` are [x, y].
  living.adaptToWave = (network, wave, points) => {
    const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
    const truth = INPUTS.map((x) => living.waveAt(wave, x));
    return living.adapt(network, xs, ys, innerRate, STEPS).map((adapted) => {
      const curve = living.predict(adapted, INPUTS);
      return {
        curve,
        onPoints: living.squaredError(living.predict(adapted, xs), ys),
        onWave: living.squaredError(curve, truth),
        moved: living.moved(network, adapted),
      };
    });
  };
})();
