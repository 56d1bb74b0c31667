// What the page "Teach it your own letters" shows; letters_page.js decides what that is.
(() => {
  const living = (window.living = window.living || {});
  const nothing = { data: [], height: 28, width: 28 };

  const button = (action, label, more = "") =>
    `<button type="button" data-action="${action}" ${more}>${label}</button>`;

  const thumb = (name, i) => `<canvas role="img" aria-label="Drawing ${i + 1} of ${name}"></canvas>`;
  const thumbs = (name) => Array.from({ length: living.MOST_DRAWINGS }, (_, i) => thumb(name, i)).join("");

  const card = (name, letter) => `
    <li class="living-card" data-letter="${letter}">
      ${button("learn", `This is ${name}`, 'class="living-main"')}
      <span class="living-thumbs">${thumbs(name)}</span>
      <span class="living-edit">
        ${button("undo", "Undo", `aria-label="Undo: ${name} forgets its last drawing"`)}
        ${button("forget", "Clear", `aria-label="Clear: ${name} forgets all its drawings"`)}
      </span>
      <span class="living-bar" aria-hidden="true"><i></i><b hidden></b></span>
      <span class="living-number"></span>
    </li>`;

  const layout = (names) => `
    <div class="living-row">
      ${button("example", "Show me an example", 'class="living-main"')} ${button("restart", "Start over")}
    </div>
    <div class="living-columns">
      <div class="living-left">
        <canvas class="living-pad" tabindex="0" role="application" aria-roledescription="drawing board"
          aria-label="Board" aria-describedby="living-keys"></canvas>
        <div class="living-row">${button("undoStroke", "Undo stroke")} ${button("clearBoard", "Clear board")}</div>
        <div class="living-answer">
          <canvas class="living-seen" width="28" height="28" role="img" aria-label="What the network sees"></canvas>
          <div><span>it says</span><strong></strong></div>
        </div>
        <p class="living-status" role="status"></p>
      </div>
      <div class="living-right">
        <ol class="living-cards" aria-label="Letters">${names.map(card).join("")}</ol>
        <p class="living-legend">Bars: squared distance of the board's drawing from each letter's mean. A drawing
          beyond the mark of the nearest letter is none of these.</p>
        <label class="living-strict">“None of these” may also turn away <b></b> drawings that do belong
          <input type="range" min="0" max="4" step="1" value="2"></label>
        <p class="living-legend living-rejected"></p>
      </div>
    </div>
    <p class="living-legend" id="living-keys">By keyboard: arrow keys move the pen (with Shift, finely), Space puts it
      down and lifts it, Backspace undoes a stroke, 1 to 5 say which letter it is.</p>`;

  living.lettersView = (root, names) => {
    root.innerHTML = layout(names);
    const find = (selector) => root.querySelector(selector);
    const cards = [...root.querySelectorAll(".living-card")];

    return {
      pad: find(".living-pad"),
      slider: find("input"),

      onPress: (react) =>
        root.addEventListener("click", (event) => {
          const pressed = event.target.closest("button");
          if (pressed) react(pressed.dataset.action, Number(pressed.closest("[data-letter]")?.dataset.letter));
        }),

      say(text, milliseconds = null) {
        if (find(".living-status").textContent !== text) find(".living-status").textContent = text;
        if (milliseconds === null) return;
        const time = document.createElement("span"); // to be read, not to be heard after each stroke
        time.setAttribute("aria-hidden", "true");
        time.textContent = ` (${milliseconds.toFixed(1)} ms)`;
        find(".living-status").append(time);
      },

      showImage: (image) => living.paintImage(find(".living-seen"), image ?? nothing),

      showAnswer(text) {
        find(".living-answer strong").textContent = text;
        find(".living-answer").classList.toggle("living-none", text.length > 1);
      },

      showDrawings: (drawings) =>
        cards.forEach((card, letter) =>
          card.querySelectorAll("canvas").forEach((canvas, i) => {
            const drawing = drawings[letter][i];
            canvas.classList.toggle("living-empty", !drawing);
            living.paintImage(canvas, drawing?.image ?? nothing);
            canvas.setAttribute("aria-hidden", String(!drawing));
          }),
        ),

      showBars: (compared, farthest, winner) =>
        cards.forEach((card, letter) => {
          const found = compared[letter];
          const percent = (value) => `${Math.min(100, (100 * value) / farthest)}%`;
          const [bar, mark] = card.querySelectorAll(".living-bar > *");
          bar.style.width = found ? percent(found.distance) : "0";
          mark.hidden = !found;
          if (found) mark.style.left = percent(found.limit);
          card.querySelector(".living-number").textContent = found ? found.distance.toFixed(1) : "";
          card.classList.toggle("living-nearest", Boolean(found) && letter === winner);
        }),

      showStrictness(share, rejected) {
        find(".living-strict b").textContent = share;
        find("input").setAttribute("aria-valuetext", share);
        find(".living-rejected").textContent = rejected ?? "";
      },
    };
  };
})();
