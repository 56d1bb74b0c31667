// What the picture of chapter 16 shows; lane_page.js decides what that is.
(() => {
  const living = (window.living = window.living || {});
  const SVG = "http://www.w3.org/2000/svg";
  const [BACK, AHEAD, HALF, LANE] = [5, 20, 3.6, 1.75]; // m behind, ahead and to each side; half of the lane
  const KINDS = ["living-before", "living-now"];

  const line = (kind) => `<path class="living-line ${kind}" d="M0,5H36"/>`;
  const sample = (kind) => `<svg class="living-sample" viewBox="0 0 36 10" aria-hidden="true">${line(kind)}</svg>`;

  // The road from above, in m, seen from the cars. Left is up.
  living.roadView = (root) => {
    const key = living.tag("p", { class: "living-key" }, root);
    key.innerHTML =
      `<span>${sample(KINDS[0])} not adapted</span> ` +
      `<span>${sample(KINDS[1])} adapted at each step to the last second</span>`;
    const box = `${-BACK} ${-HALF} ${BACK + AHEAD} ${2 * HALF}`;
    const label = "The lane from above, and two cars";
    const named = { class: "living-road", viewBox: box, role: "img", "aria-label": label };
    const svg = living.tag("svg", named, root, null, SVG);
    const draw = (kind) => living.tag("path", { class: kind }, svg, null, SVG);
    const ground = draw("living-lane-ground");
    const [left, middle, right] = ["edge", "middle", "edge"].map((kind) => draw(`living-lane-${kind}`));
    const car = (kind) => {
      const size = { class: `living-car ${kind}`, x: -1.4, y: -0.9, width: 4.2, height: 1.8, rx: 0.5 };
      return living.tag("rect", size, svg, null, SVG);
    };
    const cars = [...KINDS].reverse().map(car).reverse(); // the hollow one lies above the other
    return (states, wet) => {
      const here = (states[0][4] + states[1][4]) / 2;
      const place = living.roadFrom(here, BACK + 8, AHEAD + 8);
      const along = Array.from({ length: BACK + AHEAD + 9 }, (_, k) => here + k - BACK - 4);
      const side = (offset) => along.map((s) => place(s, offset).slice(0, 2).map((v, i) => (i ? -v : v).toFixed(3)));
      left.setAttribute("d", `M${side(LANE).join("L")}`);
      middle.setAttribute("d", `M${side(0).join("L")}`);
      right.setAttribute("d", `M${side(-LANE).join("L")}`);
      ground.setAttribute("d", `M${side(LANE).join("L")}L${side(-LANE).reverse().join("L")}Z`);
      ground.dataset.wet = String(wet);
      cars.forEach((one, i) => {
        const [offset, heading, , , position] = states[i];
        const [x, y, angle] = place(position, offset);
        one.setAttribute("transform", `translate(${x} ${-y}) rotate(${(-(angle + heading) * 180) / Math.PI})`);
      });
    };
  };

  // Offsets over time, a dot on each at the time that is shown.
  living.offsetsView = (root, seconds, fails) => {
    const axes = living.axes(root, {
      x: [0, seconds],
      y: [-1, 1],
      label: "Offset of both cars from the middle of the lane",
      xLabel: "time in s",
      yLabel: "offset in m (left is up)",
      xTicks: [0, 2, 4, 6, 8],
      yTicks: [-0.5, 0, 0.5],
      ratio: 0.42,
    });
    axes.path("living-lane-fails").draw([[fails, -1], [fails, 1]]);
    const lines = KINDS.map((kind) => axes.path(`living-line ${kind}`));
    const dots = KINDS.map((kind) => axes.add("circle", { class: `living-walker ${kind}`, r: 6 }, axes.plot));
    return (drives, dt, now) =>
      drives.forEach((states, i) => {
        lines[i].draw(states.map(([offset], k) => [k * dt, offset]));
        dots[i].setAttribute("cx", axes.px(now * dt));
        dots[i].setAttribute("cy", axes.py(states[now][0]));
      });
  };
})();
