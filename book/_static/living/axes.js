// Axes with points to drag, for living pictures; controls.js has what stands around them.
//
//   const axes = living.axes(root, { x: [-3, 3], y: [0, 9], label: "Loss of one weight", xTicks: [-2, 0, 2] });
//   const curve = axes.path("living-line living-c0"); // a CSS class; curve.draw([[x, y], …]) as often as you like
//   const point = axes.handle({ at: [1, 1], label: "Start", lock: "y", moved: ([x, y]) => … });
(() => {
  const living = (window.living = window.living || {});
  const SVG = "http://www.w3.org/2000/svg";
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  let count = 0; // for names that occur once on a page

  living.axes = (root, options) => {
    const { x, y, label, xLabel = "", yLabel = "", xTicks = [], yTicks = [], ratio = 0.7, most = 640 } = options;
    const width = Math.min(most, Math.max(300, root.clientWidth || most)); // letters keep their size on a phone
    const height = Math.round(width * ratio);
    const [left, right, top] = [yTicks.length ? 44 : 8, 8, yLabel ? 26 : 8];
    const bottom = (xTicks.length ? 24 : 0) + (xLabel ? 22 : 0) + 6;
    const named = { class: "living-axes", viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label };
    const svg = living.tag("svg", named, root, null, SVG);
    svg.style.maxWidth = `${most}px`;
    const add = (name, attributes, parent, text) => living.tag(name, attributes, parent, text, SVG);
    const px = (value) => left + ((value - x[0]) / (x[1] - x[0])) * (width - left - right);
    const py = (value) => height - bottom - ((value - y[0]) / (y[1] - y[0])) * (height - top - bottom);
    const box = { x: left, y: top, width: width - left - right, height: height - top - bottom };
    const clip = `living-clip-${count++}`;
    add("rect", box, add("clipPath", { id: clip }, svg));
    const back = add("g", { "aria-hidden": "true" }, svg);
    const plot = add("g", { "clip-path": `url(#${clip})` }, svg); // what is drawn here is cut off at the frame
    const front = add("g", {}, svg);

    add("rect", { class: "living-frame", ...box }, back);
    for (const at of xTicks) {
      add("path", { class: "living-grid", d: `M${px(at)},${top}V${height - bottom}` }, back);
      add("text", { x: px(at), y: height - bottom + 18, "text-anchor": "middle" }, back, living.number(at, null));
    }
    for (const at of yTicks) {
      add("path", { class: "living-grid", d: `M${left},${py(at)}H${width - right}` }, back);
      add("text", { x: left - 7, y: py(at) + 5, "text-anchor": "end" }, back, living.number(at, null));
    }
    if (xLabel) add("text", { x: left + box.width / 2, y: height - 6, "text-anchor": "middle" }, back, xLabel);
    if (yLabel) add("text", { x: 2, y: 16 }, back, yLabel);

    const clamp = ([a, b]) => [Math.min(x[1], Math.max(x[0], a)), Math.min(y[1], Math.max(y[0], b))];
    const at = (event) => {
      const shown = svg.getBoundingClientRect();
      const zoom = width / shown.width;
      const [u, v] = [(event.clientX - shown.left) * zoom - left, (event.clientY - shown.top) * zoom - top];
      return [x[0] + (u / box.width) * (x[1] - x[0]), y[1] - (v / box.height) * (y[1] - y[0])];
    };

    // A polyline, redrawn by draw(points); points outside the frame are cut off, those that are not finite left out.
    function path(kind, parent = plot) {
      const node = add("path", { class: kind }, parent);
      const draw = (points) => {
        const places = points.filter((point) => point.every(Number.isFinite)).map(([a, b]) => `${px(a)},${py(b)}`);
        node.setAttribute("d", places.length ? `M${places.join("L")}` : "");
      };
      return { node, draw };
    }

    // A point to drag by mouse, finger or arrow keys (with Shift, finely). `lock` keeps its "x" or its "y"; append what
    // shall be drawn in it to its `node`, whose origin it is. moved(at) is called at each change by the reader.
    function handle({ at: start, label: name, moved, kind = "", lock = "", radius = 8, reach = 20, text = null }) {
      const node = add("g", { class: `living-handle ${kind}`, role: "slider", tabindex: 0, "aria-label": name }, front);
      add("circle", { class: "living-reach", r: reach }, node);
      if (radius) add("circle", { class: "living-dot", r: radius }, node);
      const point = { at: start, node, place, name: (label) => node.setAttribute("aria-label", label) };
      function place(next) {
        point.at = clamp(next);
        const [a, b] = point.at;
        node.setAttribute("transform", `translate(${px(a)} ${py(b)})`);
        node.setAttribute("aria-valuenow", (lock === "x" ? b : a).toFixed(2));
        const both = { x: living.number(b), y: living.number(a) }[lock] ?? `${living.number(a)}, ${living.number(b)}`;
        node.setAttribute("aria-valuetext", text ? text(point.at) : both);
      }
      const go = ([a, b]) => {
        place([lock === "x" ? point.at[0] : a, lock === "y" ? point.at[1] : b]);
        moved(point.at, point);
      };
      let grip = null; // where in the handle the pointer took it
      node.addEventListener("pointerdown", (event) => {
        if (event.button !== 0 || grip) return;
        const [a, b] = at(event);
        grip = { id: event.pointerId, by: [point.at[0] - a, point.at[1] - b] };
        node.setPointerCapture(event.pointerId);
        node.focus({ preventScroll: true });
        event.preventDefault();
      });
      node.addEventListener("pointermove", (event) => {
        if (grip?.id === event.pointerId) go(at(event).map((value, axis) => value + grip.by[axis]));
      });
      for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, () => (grip = null));
      // A finger drags here, and scrolls everywhere else: touch-action does not reach into every part of a drawing.
      node.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
      node.addEventListener("keydown", (event) => {
        if (!(event.key in ARROWS) || event.ctrlKey || event.metaKey || event.altKey) return;
        const step = event.shiftKey ? 0.005 : 0.03; // of the frame
        const [dx, dy] = ARROWS[event.key];
        go([point.at[0] + dx * step * (x[1] - x[0]), point.at[1] + dy * step * (y[1] - y[0])]);
        event.preventDefault(); // the page would scroll
      });
      place(start);
      return point;
    }
    return { svg, back, plot, front, add, path, handle, px, py, at, width, height, box };
  };
})();
