// What the picture of chapter 6 shows: two tasks, a start, and where four methods would move it.
(() => {
  const living = (window.living = window.living || {});
  const HEIGHTS = [0.03, 0.06, 0.12, 0.24, 0.48, 0.96, 1.92, 3.84]; // contours, above the minimum
  const REACH = { maml: 0.23, first: 0.18, reptile: 0.135, implicit: 0.09 }; // of the width: an arrow's length
  const SLOW = 0.1; // a gradient shorter than this has a shorter arrow, too
  const TIPS = {
    maml: "M1,0L-11,-6V6Z", // a full triangle, an open one, a disc and a diamond
    first: "M1,0L-11,-6V6Z",
    reptile: "M0,0A6,6 0 1 1 -12,0A6,6 0 1 1 0,0Z",
    implicit: "M1,0L-6,-6.5L-13,0L-6,6.5Z",
  };

  // How a method's arrow looks, for the table.
  living.arrowSample = (key) =>
    `<svg class="living-sample living-method living-${key}" viewBox="0 0 44 14" aria-hidden="true">` +
    `<path class="living-shaft" d="M0,7H42"/>` +
    `<path class="living-tip" transform="translate(43 7)" d="${TIPS[key]}"/></svg>`;

  // The plane of the two weights. `moved(which, at)` hears of the start (2) and of the tasks' best weights (0 and 1).
  living.directionsView = (root, { theta, tasks }, moved) => {
    const label = "Two weights: contours of the loss after the inner steps, two tasks, a start and its directions";
    const axes = living.axes(root, { x: [-2.5, 2.5], y: [-2, 2], label, ratio: 0.8 });
    const { add, plot, px, py, width } = axes;
    const contours = HEIGHTS.map(() => axes.path("living-contour"));
    const own = tasks.map((_, i) => axes.path(`living-own living-c${2 * i}`));
    const paths = tasks.map((_, i) => axes.path(`living-line living-inner living-c${2 * i}`));
    const dots = tasks.map((_, i) => add("g", { class: `living-c${2 * i}` }, plot));
    const methods = Object.fromEntries(
      Object.keys(living.FAMILY).map((key) => {
        const group = add("g", { class: `living-method living-${key}` }, plot);
        const [way, shaft] = [axes.path("living-way", group), add("path", { class: "living-shaft" }, group)];
        const tip = add("path", { class: "living-tip", d: TIPS[key] }, group);
        const end = add("g", { class: "living-end" }, group);
        add("rect", { x: -9, y: -9, width: 18, height: 18, rx: 4 }, end);
        add("text", { y: 5, "text-anchor": "middle" }, end, living.FAMILY[key].letter);
        const name = add("text", { class: "living-name", "text-anchor": "middle" }, group, living.FAMILY[key].letter);
        return [key, { group, way, shaft, tip, end, name }];
      }),
    );
    const handles = tasks.map((task, i) => {
      const about = { at: task.best, label: `Best weights of task ${i + 1}`, kind: `living-c${2 * i}`, radius: 10 };
      const handle = axes.handle({ ...about, moved: (at) => moved(i, at) });
      add("text", { class: "living-number-in", y: 5, "text-anchor": "middle" }, handle.node, i + 1);
      return handle;
    });
    const start = axes.handle({ at: theta, label: "Start", kind: "living-start", moved: (at) => moved(2, at) });
    add("text", { class: "living-theta", x: -16, y: -10, "text-anchor": "middle" }, start.node, "θ");

    // An arrow along a direction of the plane: `share` of the method's own length.
    function arrow({ shaft, tip, name }, key, [dx, dy], share, from) {
      const [u, v] = [px(dx) - px(0), py(dy) - py(0)];
      const length = (REACH[key] * width * share) / Math.hypot(u, v);
      const [a, b] = [px(from[0]), py(from[1])];
      const [c, d] = [a + u * length, b + v * length];
      const turn = (Math.atan2(v, u) * 180) / Math.PI;
      const far = 1 + 16 / (REACH[key] * width * share);
      shaft.setAttribute("d", `M${a},${b}L${c},${d}`);
      tip.setAttribute("transform", `translate(${c} ${d}) rotate(${turn})`);
      name.setAttribute("x", a + (c - a) * far);
      name.setAttribute("y", b + (d - b) * far + 5);
    }

    function showMethod(key, shown, { gradient, end, way }, from, whole) {
      const parts = methods[key];
      const length = Math.hypot(...gradient);
      const moves = shown && !whole && length > 1e-6;
      parts.group.style.display = shown ? "" : "none";
      for (const name of ["shaft", "tip", "name"]) parts[name].style.display = moves ? "" : "none";
      if (moves) arrow(parts, key, [-gradient[0], -gradient[1]], Math.min(1, length / SLOW), from);
      parts.way.draw(whole ? way : []);
      const near = end.attracts && end.at.every((value) => Math.abs(value) < 3);
      parts.end.style.display = near ? "" : "none";
      if (near) parts.end.setAttribute("transform", `translate(${px(end.at[0])} ${py(end.at[1])})`);
    }

    return {
      handles: [...handles, start],
      show({ theta, tasks, settings, found, shown, whole }) {
        contours.forEach((contour, i) => contour.draw(living.contourOf(tasks, settings, HEIGHTS[i])));
        tasks.forEach((task, i) => {
          own[i].draw(living.taskContour(task, 0.25));
          const path = living.innerPath(task, theta, settings);
          paths[i].draw(path);
          dots[i].replaceChildren();
          for (const [a, b] of path.slice(1)) {
            add("circle", { class: "living-dot", r: 5, cx: px(a), cy: py(b) }, dots[i]);
          }
          if (!shown.implicit) return;
          const [a, b] = living.pulledMinimum(task, theta, settings);
          add("path", { class: "living-pulled", d: `M${px(a)},${py(b)}m0,-7l7,7l-7,7l-7,-7z` }, dots[i]);
        });
        for (const key of Object.keys(methods)) showMethod(key, shown[key], found[key], theta, whole);
      },
    };
  };
})();
