// The page "Teach it your own letters": a board, five letters that learn from drawings, and the answer, live.
(() => {
  const living = window.living;
  const NAMES = ["A", "B", "C", "D", "E"];
  const FARTHEST = 24; // squared distance at a bar's right end
  const EXAMPLE_TIME = 1200; // milliseconds in which an example draws itself
  const START = "Draw a letter on the board, one that nobody has seen before. Then press the letter it shall be.";
  const FIRST = "Which letter is this? Press “This is A”, say, and the page has learned its first letter.";

  const weights = living.weightsOfGlyphs;
  const alphabet = living.alphabet(NAMES.length, weights);
  const view = living.lettersView(document.querySelector("[data-living]"), NAMES);
  const pad = living.pad(view.pad, react);
  let stopPlaying = () => {};
  let question = 0; // which of the example's drawings comes next

  const strictness = () => Number(view.slider.value);
  const count = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

  // The drawing on the board changed. Bars follow each movement; the sentence, which is read out, waits for the pen.
  function react(strokes, finished) {
    const started = performance.now();
    const image = strokes.length ? living.imageOf(strokes) : null;
    const answer = image ? alphabet.answer(image, strictness()) : { compared: [], ranked: [] };
    const milliseconds = performance.now() - started;
    view.showImage(image);
    view.showBars(answer.compared, FARTHEST, answer.letter);
    view.showAnswer(answer.ranked.length ? (NAMES[answer.letter] ?? "none of these") : "–");
    if (!finished) view.say("…");
    else if (answer.ranked.length) view.say(sentence(answer), milliseconds);
    else view.say(image ? FIRST : START);
  }

  function sentence({ ranked: [nearest, next], letter }) {
    const verdict = letter === null ? "None of these. The nearest letter is" : "This is";
    const place = `at a squared distance of ${nearest.distance.toFixed(1)}; its limit is ${nearest.limit.toFixed(1)}.`;
    const others = next ? ` Next comes ${NAMES[next.letter]}, at ${next.distance.toFixed(1)}.` : "";
    return `${verdict} ${NAMES[nearest.letter]}, ${place}${others}`;
  }

  function showLearned() {
    view.showDrawings(alphabet.drawings);
    const share = weights.turnedAway[strictness()];
    view.showStrictness(`${Math.round(100 * share)} in 100`, measured(alphabet.rejected(strictness())));
  }

  function measured(found) {
    if (!found) return "";
    const { share, nLetters, fewest } = found;
    const support = `${count(nLetters, "letter")} and ${count(fewest, "drawing")} of each`;
    return `Measured on print: with ${support}, it turns away ${Math.round(100 * share)} in 100 drawings of others.`;
  }

  // The letters changed: answer the drawing on the board again, then say what happened.
  function relearned(text) {
    showLearned();
    pad.show(pad.strokes());
    view.say(text);
  }

  const actions = {
    learn(letter) {
      const list = alphabet.drawings[letter];
      if (!pad.strokes().length) return view.say("The board is empty: draw first, then say which letter it is.");
      if (list.length === living.MOST_DRAWINGS) {
        return view.say(`${NAMES[letter]} has five drawings, the most that a letter can have here.`);
      }
      alphabet.learn(letter, living.imageOf(pad.strokes()));
      pad.clear();
      relearned(`${NAMES[letter]} has learned from ${count(list.length, "drawing")}. Draw the next letter.`);
    },
    undo(letter) {
      const name = NAMES[letter];
      relearned(alphabet.undo(letter) ? `${name} forgot its last drawing.` : `${name} has no drawing to forget.`);
    },
    forget(letter) {
      alphabet.forget(letter);
      relearned(`${NAMES[letter]} has forgotten all its drawings.`);
    },
    undoStroke: () => pad.undo(),
    clearBoard: () => pad.clear(),
    restart() {
      NAMES.forEach((_, letter) => alphabet.forget(letter));
      showLearned();
      pad.clear();
    },
    example() {
      const { letters, questions } = living.exampleOfLetters;
      NAMES.forEach((_, letter) => {
        alphabet.forget(letter);
        letters[letter].forEach((drawing) => alphabet.learn(letter, living.imageOf(drawing)));
      });
      showLearned();
      stopPlaying = living.play(questions[question++ % questions.length], EXAMPLE_TIME, pad.show);
    },
  };

  function act(action, letter) {
    stopPlaying();
    actions[action](letter);
  }

  view.onPress(act);
  view.pad.addEventListener("pointerdown", () => stopPlaying(), true); // before the board hears of it
  view.pad.addEventListener("keydown", (event) => {
    const letter = Number(event.key) - 1;
    if (letter in NAMES && !event.ctrlKey && !event.metaKey && !event.altKey) act("learn", letter);
  });
  view.slider.addEventListener("input", () => (showLearned(), pad.show(pad.strokes())));
  living.onTheme(() => {
    view.showDrawings(alphabet.drawings);
    pad.show(pad.strokes());
  });
  living.letters = { alphabet, pad }; // for a look from the browser's console, and for tests
  showLearned();
  view.say(START);
})();
