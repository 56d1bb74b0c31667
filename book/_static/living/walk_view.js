// What the picture of chapter 11 shows; walk_page.js decides what that is.
(() => {
  const living = (window.living = window.living || {});
  const SHOWN = 5; // episodes whose paths are drawn

  const line = (kind) => `<path class="living-line ${kind}" d="M0,5H36"/>`;
  const sample = (kind) => `<svg class="living-sample" viewBox="0 0 36 10" aria-hidden="true">${line(kind)}</svg>`;

  // The plane; `moved(at)` hears of the goal that the reader drags.
  living.walkView = (root, goal, moved) => {
    const key = living.tag("p", { class: "living-key" }, root);
    key.innerHTML =
      `<span>${sample("living-before")} before any step</span> <span>${sample("living-now")} after the steps</span> ` +
      `<span><b class="living-goal-key" aria-hidden="true"></b> the goal, which the policy never sees</span>`;
    const label = "The plane: paths from the middle, and the goal";
    const ticks = { xTicks: [-0.5, 0, 0.5], yTicks: [-0.5, 0, 0.5] };
    const axes = living.axes(root, { x: [-0.75, 0.75], y: [-0.75, 0.75], label, ...ticks, ratio: 0.95, most: 440 });
    const square = [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5]]; // where goals were in training
    axes.path("living-square").draw(square);
    const lines = ["living-before", "living-now"].map((kind) =>
      Array.from({ length: SHOWN }, () => axes.path(`living-line ${kind}`)),
    );
    const dots = ["living-before", "living-now"].map((kind) =>
      axes.add("circle", { class: `living-walker ${kind}`, r: 7, visibility: "hidden" }, axes.plot),
    );
    const handle = axes.handle({ at: goal, label: "Goal: x, y", moved, kind: "living-goal" });
    return {
      handle,
      // Paths of both, lists of episodes; of step 0 the first list is the second, and stays away.
      show(both) {
        both.forEach((episodes, i) =>
          lines[i].forEach((line, e) => line.draw(e < episodes.length ? episodes[e].places : [])),
        );
      },
      // Both points at time t of their first episode, or nowhere.
      walk(both, t) {
        dots.forEach((dot, i) => {
          const places = both[i][0]?.places;
          dot.setAttribute("visibility", t === null || !places ? "hidden" : "visible");
          if (t === null || !places) return;
          const [x, y] = places[Math.min(t, places.length - 1)];
          dot.setAttribute("cx", axes.px(x));
          dot.setAttribute("cy", axes.py(y));
        });
      },
    };
  };

  // A row for each number of steps: its mean return as a bar, from minus 60 to 0.
  living.returnsView = (root, steps) => {
    living.tag("p", { class: "living-title" }, root, "Mean return of 20 episodes");
    const rows = Array.from({ length: steps + 1 }, (_, k) => {
      const row = living.tag("div", { class: "living-moved" }, root);
      living.tag("span", {}, row, `${k} step${k === 1 ? "" : "s"}`);
      const bar = living.tag("i", {}, living.tag("span", { class: "living-bar", "aria-hidden": "true" }, row));
      return { row, bar, number: living.tag("b", {}, row) };
    });
    const note = "Minus the sum of the distances to the goal, over at most 100 moves: shorter bars are better.";
    living.tag("p", { class: "living-legend" }, root, note);
    return (means, now) => {
      rows.forEach(({ row, bar, number }, k) => {
        const known = Number.isFinite(means[k]);
        row.dataset.now = String(k === now);
        bar.style.width = known ? `${Math.min(100, (-means[k] / 60) * 100)}%` : "0";
        number.textContent = known ? living.number(means[k], 1) : "…";
      });
    };
  };
})();
