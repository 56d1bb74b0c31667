// What the picture of chapter 5 shows; wave_page.js decides what that is.
(() => {
  const living = (window.living = window.living || {});
  const [LEAST, MOST] = [1e-6, 1e6]; // squared errors beyond are drawn as these, outside the frame
  const LAYERS = ["layer 1", "layer 2", "layer 3"];

  const line = (kind) => `<path class="living-line ${kind}" d="M0,5H36"/>`;
  const sample = (kind) => `<svg class="living-sample" viewBox="0 0 36 10" aria-hidden="true">${line(kind)}</svg>`;
  const legend = (...entries) => entries.map(([kind, text]) => `<span>${sample(kind)} ${text}</span>`).join(" ");
  const keys = (root, ...entries) => (living.tag("p", { class: "living-key" }, root).innerHTML = legend(...entries));
  const log = (value) => Math.log10(Math.min(MOST, Math.max(LEAST, value)));

  // The plane of the wave; `moved(i, at)` hears of a point that the reader drags.
  living.waveView = (root, points, moved) => {
    const { x, steps, inputs } = living.WAVES;
    keys(
      root,
      ["living-truth", "the wave"],
      ["living-before", "the start"],
      ["living-earlier", "earlier steps"],
      ["living-now", "the network now"],
    );
    const label = "Five points of a wave, and the network that adapts to them";
    const ticks = { xTicks: [-4, -2, 0, 2, 4], yTicks: [-5, 0, 5] };
    const axes = living.axes(root, { x, y: [-6, 6], label, ...ticks, ratio: 0.55 });
    const truth = axes.path("living-line living-truth");
    const curves = Array.from({ length: steps + 1 }, () => axes.path("living-line"));
    const handles = points.map((at, i) =>
      axes.handle({ at, label: `Point ${i + 1}: x, y`, moved: (place) => moved(i, place) }),
    );
    return {
      handles,
      show(values, path, k) {
        truth.draw(inputs.map((input, i) => [input, values[i]]));
        curves.forEach((curve, step) => {
          const kind = step === k ? "living-now" : step === 0 ? "living-before" : "living-earlier";
          curve.node.setAttribute("class", `living-line ${kind}`);
          curve.draw(step > k ? [] : inputs.map((input, i) => [input, path[step].curve[i]]));
        });
        axes.plot.append(curves[k].node); // above the others
      },
    };
  };

  // Both errors, step by step.
  living.lossView = (root) => {
    living.tag("p", { class: "living-title" }, root, "Squared error by step");
    keys(root, ["living-onpoints", "on the five points"], ["living-onwave", "on the whole wave"]);
    const { steps } = living.WAVES;
    const ticks = { xTicks: [0, 2, 4, 6, 8, 10], yTicks: [-2, -1, 0, 1, 2] };
    const label = "Squared error on the points and on the wave, after each step";
    const axes = living.axes(root, { x: [-0.3, steps + 0.3], y: [-3.3, 2.2], label, ...ticks, most: 420, ratio: 0.62 });
    axes.back.querySelectorAll('[text-anchor="end"]').forEach((tick, i) => (tick.textContent = 10 ** ticks.yTicks[i]));
    const mark = axes.add("path", { class: "living-mark" }, axes.plot);
    const names = ["onPoints", "onWave"];
    const lines = names.map((name) => axes.path(`living-line living-${name.toLowerCase()}`));
    const dots = names.map(() => axes.add("circle", { class: "living-dot", r: 5 }, axes.plot));
    return (path, k) => {
      mark.setAttribute("d", `M${axes.px(k)},${axes.box.y}v${axes.box.height}`);
      names.forEach((name, i) => {
        lines[i].draw(path.map((step, at) => [at, log(step[name])]));
        dots[i].setAttribute("cx", axes.px(k));
        dots[i].setAttribute("cy", axes.py(log(path[k][name])));
      });
    };
  };

  // A bar for each layer: its change as a share of its own length, drawn beside the layer that moved most.
  living.movedView = (root) => {
    living.tag("p", { class: "living-title" }, root, "How far each layer moved");
    const rows = LAYERS.map((name) => {
      const row = living.tag("div", { class: "living-moved" }, root);
      living.tag("span", {}, row, name);
      const bar = living.tag("i", {}, living.tag("span", { class: "living-bar", "aria-hidden": "true" }, row));
      return { bar, number: living.tag("b", {}, row) };
    });
    living.tag("p", { class: "living-legend" }, root, "Change of weight and bias, in % of their length at the start.");
    return (moved) => {
      const most = Math.max(...moved, 1e-9);
      rows.forEach(({ bar, number }, i) => {
        bar.style.width = `${(100 * moved[i]) / most}%`;
        number.textContent = `${living.number(100 * moved[i], 1)} %`;
      });
    };
  };
})();
