// The living plane: letters to drag, their prototypes, the regions in which each wins, and a query's probabilities.
(() => {
  const living = window.living;
  const NAMES = ["A", "B", "C"];
  const [N_SHOT, PER_CLASS] = [5, 7]; // five examples and two queries of each letter
  const ORDER = [3, 0, 4, 1, 5, 2]; // of the queries
  const root = document.querySelector('[data-living~="plane"]');
  const { tasks, images } = living.planeOfGlyphs;
  const packed = living.packedImages(images);
  const imageOf = (letter, i) => packed((state.task * 3 + letter) * PER_CLASS + i);
  const placeOf = (letter, i) => tasks[state.task][letter][i];
  const state = { task: 0, query: 0, shots: 5, kind: "euclidean" };

  root.replaceChildren(); // what stands there without scripts
  const row = living.tag("div", { class: "living-row" }, root);
  const options = [["euclidean", "squared distance"], ["cosine", "cosine"]]; // prettier-ignore
  const choose = (key, value) => ((state[key] = value), arrange());
  living.choice(row, { label: "Nearest by", options }, (value) => choose("kind", value));
  const five = { label: "Examples", options: [["1", "one"], ["5", "five"]], value: "5" }; // prettier-ignore
  living.choice(row, five, (value) => choose("shots", Number(value)));
  const columns = living.tag("div", { class: "living-columns" }, root);
  const frame = living.tag("div", { class: "living-plane" }, columns);
  const bars = living.planeBars(columns, NAMES);
  const buttons = living.tag("div", { class: "living-row" }, root);
  living.button(buttons, "Another query", () => ask(state.query + 1));
  living.button(buttons, "Other letters", () => begin(state.task + 1));
  living.button(buttons, "Start over", () => begin(state.task));
  const say = living.status(root);

  let stage = null; // the axes of a task, what is drawn on them, and the points to drag

  // A square around all of a task's letters and the origin.
  function stageOf(task) {
    const side = 1.15 * Math.max(...tasks[task].flat(2).map(Math.abs));
    const square = { x: [-side, side], y: [-side, side], ratio: 1, most: 460 };
    frame.replaceChildren();
    const axes = living.axes(frame, { ...square, label: "Plane of letters; arrow keys move the one in focus" });
    const shapes = living.planeShapes(axes, NAMES);
    const add = (label, kind) => {
      const handle = axes.handle({ at: [0, 0], label, kind, radius: 0, reach: 21, moved: show });
      shapes.thumbnail(handle.node);
      return handle;
    };
    const examples = (name, letter) =>
      Array.from({ length: N_SHOT }, (_, i) => add(`Example ${i + 1} of ${name}`, `living-c${letter}`));
    return { side, shapes, handles: NAMES.map(examples), query: add("Query", "living-query") };
  }

  const classes = () => stage.handles.map((list) => list.slice(0, state.shots).map((handle) => handle.at));

  // Everything that follows from where the points are: at each movement.
  function show() {
    const prototypes = living.prototypesOf(classes());
    const at = stage.query.at;
    const shown = living.probabilities(at, prototypes, state.kind);
    const similarities = prototypes.map((prototype) => living.similarity[state.kind](at, prototype));
    stage.shapes.draw(prototypes, classes(), state, living.regions(prototypes, state.kind, stage.side));
    bars.draw(shown, similarities, state.kind);
    later(() => say(sentence(shown)));
    return shown;
  }

  function sentence(shown) {
    const best = shown.indexOf(Math.max(...shown));
    const [truth] = asked();
    const ending = best === truth ? "That is right." : `It is ${NAMES[truth]}.`;
    return `The query is taken for ${NAMES[best]}, with probability ${living.number(shown[best])}. ${ending}`;
  }

  let waiting = 0; // a sentence is read out: not at each movement
  function later(speak) {
    clearTimeout(waiting);
    waiting = setTimeout(speak, 250);
  }

  // Which points are there, and what they show.
  function arrange() {
    const { handles, query, shapes } = stage;
    handles.forEach((list, letter) =>
      list.forEach((handle, i) => {
        handle.node.style.display = i < state.shots ? "" : "none";
        shapes.picture(handle.node, imageOf(letter, i));
      }),
    );
    shapes.picture(query.node, imageOf(...asked()));
    bars.pictures(NAMES.map((_, letter) => imageOf(letter, 0)));
    return show();
  }

  const asked = () => [Math.floor(ORDER[state.query] / 2), N_SHOT + (ORDER[state.query] % 2)];

  function ask(next) {
    state.query = next % ORDER.length;
    stage.query.place(placeOf(...asked()));
    arrange();
  }

  function begin(task) {
    state.task = task % tasks.length;
    stage = stageOf(state.task);
    stage.handles.forEach((list, letter) => list.forEach((handle, i) => handle.place(placeOf(letter, i))));
    ask(0);
  }

  living.onTheme(arrange);
  living.plane = { state, stage: () => stage, show, classes }; // for the browser's console, and for tests
  begin(0);
})();
