// The living picture of chapter 16: two drives of one car, of which one adapts to a road that becomes wet and windy.
(() => {
  const living = window.living;
  const { cars, dt, fails, names } = living.runsInLane;
  const root = document.querySelector('[data-living~="lane_page"]');
  const last = cars[0].actions[0].length;
  let drive = 0; // number of the animation that goes on; an older one stops

  root.replaceChildren();
  root.classList.add("living-lane");
  const showRoad = living.roadView(root);
  const showOffsets = living.offsetsView(root, last * dt, fails * dt);
  const text = (k) => `${living.number(k * dt, 1)} s`;
  const time = living.slider(root, { label: "Time", min: 0, max: last, step: 1, value: fails + 20, text }, () => {
    drive += 1;
    show();
  });
  const row = living.tag("div", { class: "living-row" }, root);
  living.button(row, "Drive", play, "living-main");
  const options = cars.map((_, i) => [String(i), String(i + 1)]);
  const car = living.choice(row, { label: "Car", options }, () => ((drive += 1), show()));
  const say = living.status(root);

  const drives = cars.map(({ start, before, later, actions }) =>
    actions.map((own) => living.laneDrive(start, before, later, fails, own)),
  );

  function show(k = time.value()) {
    const own = drives[Number(car.value())];
    showRoad(own.map((states) => states[k]), k > fails);
    showOffsets(own, dt, k);
    living.lane = { car: Number(car.value()), step: k, drives: own, names }; // for tests
    const [plain, adapted] = own.map((states) => living.number(Math.abs(states[k][0]), 2));
    const road = k > fails ? "The road is slippery and the wind comes from the other side." : "The road is dry.";
    say(`${road} From the middle of the lane: ${adapted} m adapted, ${plain} m not adapted.`);
  }

  // In real time; for those who want no motion, at once at the end.
  function play() {
    const own = ++drive;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const started = performance.now();
    function frame(now) {
      if (own !== drive) return;
      const k = still ? last : Math.min(last, Math.max(0, Math.floor((now - started) / (1000 * dt))));
      time.set(k);
      show(k);
      if (k < last) requestAnimationFrame(frame);
    }
    frame(started);
  }

  show();
})();
