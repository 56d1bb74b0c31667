// A board to draw on, by mouse, pen, finger and keyboard.
(() => {
  const living = (window.living = window.living || {});
  const WIDTH = 8; // units: the pen's
  const CLOSE = 2; // units: a point nearer than this to the last one adds nothing
  const STEP = { coarse: 10, fine: 2 }; // units: how far an arrow key moves the pen
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  // Turn a canvas into a board. `change(strokes, finished)` is called at each change; finished: the pen is up.
  living.pad = (canvas, change) => {
    const board = living.BOARD;
    let strokes = [];
    let pointer = null; // id of the pointer that draws: a second finger is left alone
    const pen = { at: [board / 2, board / 2], down: false, shown: false }; // the keyboard's
    const held = new Set(); // arrow keys: two at a time go diagonally

    const inside = (value) => Math.min(board - WIDTH / 2, Math.max(WIDTH / 2, value));
    const extend = (point) => {
      const stroke = strokes.at(-1);
      if (Math.hypot(point[0] - stroke.at(-1)[0], point[1] - stroke.at(-1)[1]) >= CLOSE) stroke.push(point);
    };

    function paint() {
      const context = living.freshContext(canvas, board);
      if (!strokes.length && !pen.shown) living.paintHint(context, "draw here", board);
      living.paintStrokes(context, strokes, WIDTH);
      if (pen.shown) living.paintPen(context, pen, WIDTH);
    }

    function changed(finished) {
      paint();
      change(strokes, finished);
    }

    function lift() {
      pointer = null;
      pen.down = false;
      held.clear();
    }

    function placeOf(event) {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top].map((value) => inside((value * board) / box.width));
    }

    canvas.addEventListener("pointerdown", (event) => {
      if (pointer !== null || event.button !== 0) return;
      lift();
      pen.shown = false;
      pointer = event.pointerId;
      canvas.setPointerCapture(pointer); // a stroke may leave the board and come back
      strokes.push([placeOf(event)]);
      changed(false);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== pointer) return;
      const all = event.getCoalescedEvents?.() ?? []; // what happened since the last frame
      (all.length ? all : [event]).forEach((one) => extend(placeOf(one)));
      changed(false);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => {
        if (event.pointerId !== pointer) return;
        pointer = null;
        changed(true);
      });
    }

    function press(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return false;
      if (event.key in ARROWS) {
        held.add(event.key);
        const step = event.shiftKey ? STEP.fine : STEP.coarse;
        for (const key of held) pen.at = pen.at.map((value, axis) => inside(value + step * ARROWS[key][axis]));
        if (pen.down) extend(pen.at);
      } else if (event.key === " ") {
        pen.down = !pen.down;
        if (pen.down) strokes.push([pen.at]);
      } else if (event.key === "Backspace") {
        undo();
      } else {
        return false;
      }
      return true;
    }

    canvas.addEventListener("keydown", (event) => {
      if (!press(event)) return;
      event.preventDefault(); // the page would scroll
      pen.shown = true;
      changed(!pen.down);
    });
    canvas.addEventListener("keyup", (event) => held.delete(event.key));
    canvas.addEventListener("focus", () => {
      pen.shown = canvas.matches(":focus-visible");
      paint();
    });
    canvas.addEventListener("blur", () => {
      const drew = pen.down;
      lift();
      pen.shown = false;
      (drew ? changed : paint)(true);
    });
    living.onTheme(paint);

    function undo() {
      lift();
      strokes.pop();
      changed(true);
    }
    function show(drawing, finished = true) {
      lift();
      if (!drawing.length) pen.at = [board / 2, board / 2];
      strokes = drawing.map((stroke) => [...stroke]);
      changed(finished);
    }
    paint();
    return { undo, show, clear: () => show([]), strokes: () => strokes };
  };
})();
