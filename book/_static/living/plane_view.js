// What the living plane shows; plane_page.js decides what that is.
(() => {
  const living = (window.living = window.living || {});
  const HALF = 15; // of a thumbnail's side, in the drawing's units

  // A letter's image as an address that an SVG can show, in the theme's ink.
  function addressOf(image) {
    const canvas = document.createElement("canvas");
    living.paintImage(canvas, image);
    return canvas.toDataURL();
  }

  // Regions and spokes behind the points, prototypes in front of them.
  living.planeShapes = (axes, names) => {
    const { px, py } = axes;
    const each = (make) => names.map((_, i) => make(`living-c${i}`));
    const regions = each((own) => axes.add("path", { class: `living-region ${own}` }, axes.plot));
    axes.add("path", { class: "living-cross", d: `M${px(0) - 7},${py(0)}h14M${px(0)},${py(0) - 7}v14` }, axes.plot);
    const origin = axes.add("text", { x: px(0) + 6, y: py(0) + 16, class: "living-small" }, axes.plot, "0");
    const spokes = each((own) => axes.add("path", { class: `living-spoke ${own}` }, axes.plot));
    const marks = axes.add("g", { "aria-hidden": "true", class: "living-marks" }, axes.svg);
    const prototypes = names.map((name, i) => {
      const mark = axes.add("g", { class: `living-c${i}` }, marks);
      axes.add("circle", { class: "living-dot", r: 11 }, mark);
      axes.add("text", { "text-anchor": "middle", y: 5 }, mark, name);
      return mark;
    });
    const line = ([a, b], [c, d]) => `M${px(a)},${py(b)}L${px(c)},${py(d)}`;
    const along = (point) => point.map((value) => (20 * value) / Math.max(Math.hypot(...point), 1e-12));

    return {
      thumbnail(node) {
        const box = { x: -HALF, y: -HALF, width: 2 * HALF, height: 2 * HALF };
        axes.add("rect", { ...box, class: "living-paper", rx: 3 }, node);
        axes.add("image", { ...box, class: "living-ink" }, node);
      },
      picture: (node, image) => node.querySelector("image").setAttribute("href", addressOf(image)),

      // `centres`: of each class; `classes`: its examples' places; `areas`: the polygon in which it wins.
      draw(centres, classes, { kind, shots }, areas) {
        const cosine = kind === "cosine";
        origin.parentNode.classList.toggle("living-by-angle", cosine);
        centres.forEach((centre, i) => {
          const corners = areas[i].map(([a, b]) => `${px(a)},${py(b)}`);
          regions[i].setAttribute("d", corners.length ? `M${corners.join("L")}Z` : "");
          const arms = cosine ? [line([0, 0], along(centre))] : classes[i].map((place) => line(place, centre));
          spokes[i].setAttribute("d", arms.join(""));
          const [dx, dy] = shots === 1 ? [HALF + 3, -HALF - 3] : [0, 0]; // beside the one example, which it is
          prototypes[i].setAttribute("transform", `translate(${px(centre[0]) + dx} ${py(centre[1]) + dy})`);
        });
      },
    };
  };

  // One bar for each class: the probability, and the distance or the cosine that it comes from.
  living.planeBars = (parent, names) => {
    const frame = living.tag("div", { class: "living-bars" }, parent);
    living.tag("p", { class: "living-legend" }, frame, "Drag a letter, or focus it and press arrow keys.");
    living.tag("strong", {}, frame, "The query (dashed frame) is");
    const list = living.tag("ol", { "aria-label": "Probabilities" }, frame);
    const rows = names.map((name, i) => {
      const item = living.tag("li", { class: `living-c${i}` }, list);
      const canvas = living.tag("canvas", { role: "img", "aria-label": `Letter ${name}` }, item);
      living.tag("b", {}, item, name);
      const bar = living.tag("i", {}, living.tag("span", { class: "living-bar", "aria-hidden": "true" }, item));
      return { canvas, bar, number: living.tag("span", { class: "living-number" }, item), source: null };
    });
    rows.forEach((row, i) => (row.source = living.tag("small", {}, list.children[i])));
    return {
      pictures: (images) => images.forEach((image, i) => living.paintImage(rows[i].canvas, image)),
      draw: (probabilities, similarities, kind) =>
        rows.forEach(({ bar, number, source }, i) => {
          bar.style.width = `${100 * probabilities[i]}%`;
          number.textContent = living.number(probabilities[i]);
          const cosine = kind === "cosine";
          const value = living.number(cosine ? similarities[i] : -similarities[i]);
          source.textContent = cosine ? `cosine ${value}` : `squared distance ${value}`;
        }),
    };
  };
})();
