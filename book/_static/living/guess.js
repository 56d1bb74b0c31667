// The landing page's tasks: five letters seen once, which is the sixth? The reader answers, then two learners do.
(() => {
  const living = window.living;
  const KINDS = ["you", "prototypical", "pixels"]; // who answers; a task holds the last two's answers
  const NAMES = { you: "You", prototypical: "Trained network", pixels: "Raw pixels" };
  const CHIPS = { you: "you", prototypical: "network", pixels: "pixels" };
  const { tasks, images } = living.tasksOfGlyphs;
  const packed = living.packedImages(images);
  const imageOf = (task, i) => packed(6 * task + i); // 0 to 4 are the letters, 5 is the query

  const root = document.querySelector('[data-living~="guess"]');
  const task = living.tag("div", { class: "living-task", role: "group", "aria-label": "Task" }, root);
  const ask = living.tag("div", { class: "living-ask" }, task);
  living.tag("span", {}, ask, "Which letter is this?");
  const query = living.tag("canvas", { role: "img", "aria-label": "The letter to name" }, ask);
  const list = living.tag("ol", { class: "living-letters", "aria-label": "Five letters, seen once each" }, task);
  const cards = [0, 1, 2, 3, 4].map((letter) => {
    const item = living.tag("li", {}, list);
    const press = living.button(item, "", () => answer(letter));
    living.tag("canvas", { role: "img", "aria-label": "Letter" }, press);
    const digit = living.tag("span", { class: "living-digit" }, press);
    return { item, press, digit, chips: living.tag("span", { class: "living-chips" }, item) };
  });
  const say = living.status(root);
  const row = living.tag("div", { class: "living-row" }, root);
  const next = living.button(row, "Next task", () => go(), "living-main");
  const board = living.tag("dl", { class: "living-board" }, root);
  const scores = Object.fromEntries(
    KINDS.map((kind) => {
      living.tag("dt", {}, board, NAMES[kind]);
      const entry = living.tag("dd", {}, board);
      const number = living.tag("span", { class: "living-count" }, entry);
      const dots = living.tag("span", { class: `living-dots living-${kind}`, "aria-hidden": "true" }, entry);
      tasks.forEach(() => living.tag("i", {}, dots));
      return [kind, { number, dots: [...dots.children] }];
    }),
  );

  let at = 0; // the task that is asked
  let answers = []; // of the reader, one for each task

  const said = (kind, i) => (kind === "you" ? answers[i] : tasks[i][kind]);
  const right = (kind, i) => said(kind, i) === tasks[i].answer;

  function show() {
    const done = at in answers;
    living.paintImage(query, imageOf(at, 5));
    cards.forEach(({ item, press, digit, chips }, letter) => {
      const same = done && letter === tasks[at].answer;
      living.paintImage(press.firstChild, imageOf(at, letter));
      press.setAttribute("aria-disabled", String(done));
      item.classList.toggle("living-same", same);
      digit.textContent = `${letter + 1}${same ? " ✓ right" : ""}`;
      chips.replaceChildren();
      for (const kind of KINDS) {
        if (done && said(kind, at) === letter) living.tag("span", { class: `living-${kind}` }, chips, CHIPS[kind]);
      }
    });
    for (const kind of KINDS) {
      const hits = answers.filter((_, i) => right(kind, i)).length;
      scores[kind].number.textContent = answers.length ? `${hits} of ${answers.length}` : "–";
      scores[kind].dots.forEach((dot, i) => (dot.className = i in answers ? (right(kind, i) ? "hit" : "miss") : ""));
    }
    next.setAttribute("aria-disabled", String(!done));
    next.textContent = answers.length === tasks.length ? "Start again" : "Next task";
  }

  function question() {
    const { script } = tasks[at];
    return `Task ${at + 1} of ${tasks.length}, from the ${script} script. Press the letter that it is, or its number.`;
  }

  // "Right, it is letter 2. The trained network was right; raw pixels took it for 4."
  function verdict() {
    const { answer: truth, prototypical, pixels } = tasks[at];
    const of = (guess, was) => (guess === truth ? `${was} right` : `took it for ${guess + 1}`);
    const own = right("you", at) ? `Right, it is letter ${truth + 1}.` : `No, it is letter ${truth + 1}.`;
    const end = answers.length === tasks.length ? " These were all the tasks." : "";
    return `${own} The trained network ${of(prototypical, "was")}; raw pixels ${of(pixels, "were")}.${end}`;
  }

  function answer(letter) {
    if (at in answers) return;
    answers.push(letter);
    show();
    say(verdict());
    next.focus({ preventScroll: true });
  }

  function go() {
    if (!(at in answers)) return say("Answer first: which of the five is it?");
    at = (at + 1) % tasks.length;
    if (at === 0) answers = [];
    show();
    say(question());
    cards[0].press.focus({ preventScroll: true });
  }

  root.addEventListener("keydown", (event) => {
    const letter = Number(event.key) - 1;
    if (letter in cards && !event.ctrlKey && !event.metaKey && !event.altKey) answer(letter);
  });
  living.onTheme(show);
  living.guess = { answers: () => answers, task: () => at, imageOf }; // for a look from the console, and for tests
  show();
  say(question());
})();
