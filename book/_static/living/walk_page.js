// The living picture of chapter 11: put the goal anywhere, and see a policy find it by its own episodes.
(() => {
  const living = window.living;
  const root = document.querySelector('[data-living~="walk_page"]');
  const { steps: STEPS, episodes: EPISODES } = living.WALK;
  const [SLICE, PACE] = [7, 40]; // milliseconds of computing a frame, and of one move of a walk

  const policy = living.trainedPolicy();
  let seed = 1;
  let steps = []; // what was played with the policy after 0, 1, … steps
  let job = 0; // number of the computation that goes on; an older one stops
  let walk = 0; // the same for the animation
  let done = false;

  root.replaceChildren();
  root.classList.add("living-walk");
  const columns = living.tag("div", { class: "living-columns" }, root);
  const view = living.walkView(living.tag("div", { class: "living-half" }, columns), [0.35, 0.3], compute);
  const side = living.tag("div", { class: "living-half" }, columns);
  const label = "Policy-gradient steps, each on 20 episodes of its own";
  const count = living.slider(side, { label, min: 0, max: STEPS, step: 1, value: 1 }, () => (stop(), show()));
  const showReturns = living.returnsView(side, STEPS);
  const row = living.tag("div", { class: "living-row" }, side);
  living.button(row, "Walk", play, "living-main");
  living.button(row, "Another goal", () => {
    view.handle.place([Math.random() - 0.5, Math.random() - 0.5]);
    compute();
  });
  living.button(row, "Other chances", () => ((seed += 1), compute()));
  const say = living.status(root);

  // Play and adapt, a slice a frame, so that the page stays awake; begin anew when the goal moves.
  function compute() {
    const own = ++job;
    const work = living.adaptToGoal(policy, [...view.handle.at], seed);
    [steps, done] = [[], false];
    stop();
    show();
    function slice() {
      if (own !== job) return;
      const end = performance.now() + SLICE;
      while (!done && performance.now() < end) {
        const next = work.next();
        [steps, done] = [next.value, Boolean(next.done)];
      }
      show();
      if (!done) requestAnimationFrame(slice);
    }
    requestAnimationFrame(slice);
  }

  const played = (k) => steps[k]?.episodes ?? [];
  const both = () => [played(0), count.value() === 0 ? [] : played(count.value())];
  const meanOf = (episodes) => episodes.reduce((sum, one) => sum + living.returnOf(one), 0) / episodes.length;

  function show() {
    const mean = (episodes) => (episodes.length === EPISODES ? meanOf(episodes) : NaN);
    const means = Array.from({ length: STEPS + 1 }, (_, k) => mean(played(k)));
    view.show(both());
    showReturns(means, count.value());
    if (done) say(sentence(means, count.value()));
    living.walk = { goal: [...view.handle.at], seed, steps, means, done, shown: count.value() }; // for tests
  }

  function sentence(means, k) {
    const [x, y] = view.handle.at;
    const ends = played(k).map(({ places }) => places[places.length - 1]);
    const near = ends.filter(([a, b]) => Math.hypot(a - x, b - y) < 0.1).length;
    const start = `Before any step the mean return is ${living.number(means[0], 1)}`;
    const after = k === 0 ? "" : `, after ${k} step${k === 1 ? "" : "s"} ${living.number(means[k], 1)}`;
    return `${start}${after}: ${near} of ${EPISODES} episodes end within 0.1 of the goal.`;
  }

  function stop() {
    walk += 1;
    view.walk(both(), null);
  }

  // Both points walk at once; for those who want no motion they stand at the end.
  function play() {
    const own = ++walk;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const [started, last] = [performance.now(), living.WALK.horizon];
    function frame(now) {
      if (own !== walk) return;
      const t = still ? last : Math.max(0, Math.floor((now - started) / PACE));
      view.walk(both(), Math.min(t, last));
      if (t < last) requestAnimationFrame(frame);
    }
    frame(started);
  }

  compute();
})();
