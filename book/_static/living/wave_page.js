// The living picture of chapter 5: drag five points of a wave, choose a start, and see where a few steps lead.
(() => {
  const living = window.living;
  const root = document.querySelector('[data-living~="wave_page"]');
  const { x, amplitude, phase, steps, innerRate } = living.WAVES;
  const FIRST = { amplitude: 3, phase: 1, inputs: [-4, -2.6, -0.5, 1.6, 3.2] };

  const wave = { amplitude: FIRST.amplitude, phase: FIRST.phase };
  let above = FIRST.inputs.map(() => 0); // how far the reader has lifted each point off the wave
  let seed = 1; // of the random weights
  let start = "maml";
  let path = [];
  let later = null;

  root.replaceChildren();
  root.classList.add("living-wave");
  const options = [["maml", "MAML"], ["joint", "joint training"], ["random", "random"]];
  const choice = living.choice(root, { label: "Start", options }, (value) => ((start = value), compute()));
  const places = FIRST.inputs.map((input) => [input, living.waveAt(wave, input)]);
  const view = living.waveView(root, places, (i, [input, output]) => {
    above[i] = output - living.waveAt(wave, input);
    compute();
  });
  const label = `Gradient steps of rate ${innerRate}, the one in training`;
  const count = living.slider(root, { label, min: 0, max: steps, step: 1, value: 1 }, show);
  const columns = living.tag("div", { class: "living-columns" }, root);
  const showLosses = living.lossView(living.tag("div", { class: "living-half" }, columns));
  const showMoved = living.movedView(living.tag("div", { class: "living-half" }, columns));
  const say = living.status(root);
  const sliders = living.tag("div", { class: "living-columns" }, root);
  const shape = (key, name, [min, max]) =>
    living.slider(
      living.tag("div", { class: "living-half" }, sliders),
      { label: name, min, max, step: 0.05, value: wave[key], text: (value) => living.number(value) },
      (value) => ((wave[key] = value), place()),
    );
  const shapes = { amplitude: shape("amplitude", "Amplitude", amplitude), phase: shape("phase", "Phase", phase) };
  const row = living.tag("div", { class: "living-row" }, root);
  living.button(row, "Another wave", another, "living-main");
  living.button(row, "Points onto the wave", () => ((above = above.map(() => 0)), place()));
  living.button(row, "Other random weights", () => {
    seed += 1;
    choice.set((start = "random"));
    compute();
  });

  // The wave changed: its points go with it.
  function place() {
    view.handles.forEach((handle, i) => {
      handle.place([handle.at[0], living.waveAt(wave, handle.at[0]) + above[i]]);
    });
    compute();
  }

  function another() {
    const between = ([low, high]) => low + (high - low) * Math.random();
    for (const [key, range] of Object.entries({ amplitude, phase })) {
      shapes[key].set(between(range)); // the slider rounds it
      wave[key] = shapes[key].value();
    }
    above = above.map(() => 0);
    view.handles.forEach((handle) => handle.place([between(x), 0]));
    place();
  }

  function compute() {
    const points = view.handles.map((handle) => handle.at);
    path = living.adaptToWave(living.STARTS[start].network(seed), wave, points);
    show();
  }

  function show() {
    const k = count.value();
    root.dataset.start = start;
    const truth = living.WAVES.inputs.map((input) => living.waveAt(wave, input));
    view.show(truth, path, k);
    showLosses(path, k);
    showMoved(path[k].moved);
    clearTimeout(later);
    later = setTimeout(() => say(sentence(k)), 300); // what is read out waits until the hand rests
    living.wave = { wave, path, steps: k, points: view.handles.map((handle) => handle.at) }; // for tests
  }

  function sentence(k) {
    const { onPoints, onWave, moved } = path[k];
    const [points, whole] = [onPoints, onWave].map((value) => living.number(value));
    const from = living.STARTS[start].name;
    const errors = `the squared error is ${points} on the five points and ${whole} on the whole wave`;
    if (!Number.isFinite(onWave) || onWave > 1e6) return `From ${from}, ${k} steps of this rate run away to infinity.`;
    if (k === 0) return `At ${from}, before any step, ${errors}.`;
    const layer = moved.indexOf(Math.max(...moved));
    const share = `by ${living.number(100 * moved[layer], 1)} % of its length`;
    return `From ${from}, after ${k} step${k === 1 ? "" : "s"}, ${errors}. Layer ${layer + 1} moved most, ${share}.`;
  }

  compute();
})();
