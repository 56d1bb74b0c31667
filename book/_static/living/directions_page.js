// The living picture of chapter 6: drag a start among two tasks and compare where four methods would move it.
(() => {
  const living = window.living;
  const root = document.querySelector('[data-living~="directions_page"]');
  const RATE = 0.1; // of the outer steps in "whole ways"
  const [COUNT, EVERY] = [1200, 8];
  const LEGEND =
    "Contours: the mean loss after the inner steps; from one to the next, what is above its minimum doubles. Shaded: " +
    "where the loss of task 1 or 2 itself is below 0.25. Dots: where the inner steps lead. Diamonds: where implicit " +
    "MAML’s inner loop ends. Boxed letters: where a method’s start comes to rest. Arrows differ in length to be told " +
    "apart; the table has the true lengths.";
  const keys = Object.keys(living.FAMILY);
  const state = {
    theta: [-0.4, 1.4],
    tasks: [
      { curvatures: [4.4, 0.8], degrees: 20, best: [1, 0.5] },
      { curvatures: [2, 0.6], degrees: 65, best: [-1, -0.5] },
    ],
    settings: { alpha: 0.2, lambda: 2, steps: 1 },
    shown: Object.fromEntries(keys.map((key) => [key, true])),
    whole: false,
  };
  let later = null;

  root.replaceChildren();
  root.classList.add("living-directions");
  const what = { label: "From θ, show", options: [["arrow", "directions"], ["way", "whole ways"]] };
  living.choice(root, what, (value) => ((state.whole = value === "way"), show()));
  const view = living.directionsView(root, state, (which, at) => {
    if (which === 2) state.theta = at;
    else state.tasks[which].best = at;
    show();
  });
  living.tag("p", { class: "living-legend" }, root, LEGEND);
  const rows = table(living.tag("table", { class: "living-table" }, root));
  const counts = { label: "Inner steps", options: [["1", "1"], ["2", "2"], ["3", "3"]] };
  living.choice(root, counts, (value) => set("steps", Number(value)));
  const rate = { label: "Inner rate α of the steps:", min: 0.02, max: 0.45, step: 0.01, value: state.settings.alpha };
  living.slider(root, { ...rate, text: (value) => living.number(value) }, (value) => set("alpha", value));
  const pull = { label: "Pull λ of implicit MAML:", min: -1, max: 1.5, step: 0.05, value: Math.log10(2) };
  const strength = (value) => 10 ** value;
  const text = (value) => living.number(strength(value), strength(value) < 10 ? 2 : 1);
  living.slider(root, { ...pull, text }, (value) => set("lambda", strength(value)));
  const say = living.status(root);

  function set(name, value) {
    state.settings[name] = value;
    show();
  }

  // A row for each method: whether it is shown, what its arrow looks like, and three numbers.
  function table(parent) {
    const head = living.tag("tr", {}, living.tag("thead", {}, parent));
    for (const name of ["method", "angle to MAML", "length", "loss at its end"]) {
      living.tag("th", { scope: "col" }, head, name);
    }
    const body = living.tag("tbody", {}, parent);
    return Object.fromEntries(
      keys.map((key) => {
        const row = living.tag("tr", { class: `living-${key}` }, body);
        const label = living.tag("label", {}, living.tag("th", { scope: "row" }, row));
        const box = living.tag("input", { type: "checkbox" }, label);
        box.checked = true;
        box.addEventListener("change", () => ((state.shown[key] = box.checked), show()));
        const { letter, name } = living.FAMILY[key];
        label.insertAdjacentHTML("beforeend", living.arrowSample(key));
        living.tag("span", {}, label, name).prepend(living.tag("b", {}, null, letter), " ");
        return [key, ["turned", "length", "loss"].map(() => living.tag("td", {}, row))];
      }),
    );
  }

  function compute() {
    const { theta, tasks, settings, whole } = state;
    const near = ([a, b]) => Math.hypot(a, b) < 20;
    return Object.fromEntries(
      keys.map((key) => {
        const way = whole ? living.wayOf(key, tasks, theta, settings, RATE, COUNT) : [];
        const gradient = living.metaGradient(key, tasks, theta, settings);
        const end = living.endOf(key, tasks, settings);
        const loss = end.attracts ? living.metaLoss(tasks, end.at, settings) : null;
        return [key, { gradient, end, loss, way: way.filter((at, i) => (i < 40 || i % EVERY === 0) && near(at)) }];
      }),
    );
  }

  function angle([a, b], [c, d]) {
    return (Math.abs(Math.atan2(a * d - b * c, a * c + b * d)) * 180) / Math.PI;
  }

  function show() {
    const found = compute();
    view.show({ ...state, found });
    for (const key of keys) {
      const { gradient, loss } = found[key];
      const numbers = [
        `${living.number(angle(found.maml.gradient, gradient), 0)}°`,
        living.number(Math.hypot(...gradient)),
        loss === null ? "runs away" : living.number(loss, 3),
      ];
      numbers.forEach((number, i) => (rows[key][i].textContent = number));
    }
    clearTimeout(later);
    later = setTimeout(() => say(sentence(found)), 300); // what is read out waits until the hand rests
    living.directions = { ...state, found }; // for tests
  }

  function sentence(found) {
    const here = living.metaLoss(state.tasks, state.theta, state.settings);
    const turned = keys.slice(1).map((key) => [angle(found.maml.gradient, found[key].gradient), key]);
    const [most, key] = turned.reduce((a, b) => (b[0] > a[0] ? b : a));
    const away = keys.filter((key) => found[key].loss === null).map((key) => living.FAMILY[key].name);
    const last = away.length ? ` Descent along ${away.join(" and along ")} runs away.` : "";
    const other = `Farthest from MAML’s direction is ${living.FAMILY[key].name}, by ${living.number(most, 0)} degrees.`;
    return `After the inner steps from θ, the mean loss of the two tasks is ${living.number(here, 3)}. ${other}${last}`;
  }

  show();
})();
