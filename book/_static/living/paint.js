// Painting in the colours of the book's theme, which changes between light and dark.
(() => {
  const living = (window.living = window.living || {});

  // "text-base", "surface", "border", "primary" and so on, as the theme names them.
  living.colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--pst-color-${name}`).trim();

  living.onTheme = (paint) => {
    const options = { attributes: true, attributeFilter: ["data-theme"] };
    new MutationObserver(paint).observe(document.documentElement, options);
  };

  // A canvas's context in units of a square board, emptied, with as many pixels as the screen shows of it.
  living.freshContext = (canvas, board) => {
    canvas.width = canvas.height = Math.round((canvas.clientWidth || board) * (window.devicePixelRatio || 1));
    const context = canvas.getContext("2d");
    context.scale(canvas.width / board, canvas.width / board);
    return context;
  };

  living.paintStrokes = (context, strokes, width) => {
    Object.assign(context, { lineWidth: width, lineCap: "round", lineJoin: "round" });
    context.strokeStyle = living.colour("text-base");
    for (const stroke of strokes) {
      context.beginPath();
      for (const [x, y] of [stroke[0], ...stroke]) context.lineTo(x, y); // the first twice: a dot, too, is a line
      context.stroke();
    }
  };

  living.paintHint = (context, text, board) => {
    Object.assign(context, { fillStyle: living.colour("text-muted"), textAlign: "center", font: "16px sans-serif" });
    context.fillText(text, board / 2, board / 2);
  };

  // The pen that the keyboard moves: a ring, filled while it draws.
  living.paintPen = (context, { at, down }, radius) => {
    const colour = living.colour("primary");
    Object.assign(context, { lineWidth: 2, strokeStyle: colour, fillStyle: colour });
    context.beginPath();
    context.arc(...at, radius, 0, 2 * Math.PI);
    if (down) context.fill();
    context.stroke();
  };

  // An image, ink on a clear ground: one pixel each of the canvas, which the style enlarges.
  living.paintImage = (canvas, image) => {
    canvas.width = image.width;
    canvas.height = image.height;
    const context = canvas.getContext("2d");
    context.fillStyle = living.colour("text-base");
    image.data.forEach((grey, i) => {
      context.globalAlpha = grey;
      if (grey > 0) context.fillRect(i % image.width, Math.floor(i / image.width), 1, 1);
    });
  };

  // Images of 28 x 28 pixels, two to a byte, in base64: a function from an image's number to the image.
  living.packedImages = (base64) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    return (i) => {
      const data = new Float32Array(784);
      const own = bytes.subarray(392 * i, 392 * (i + 1));
      own.forEach((byte, at) => data.set([(byte >> 4) / 15, (byte & 15) / 15], 2 * at));
      return { data, channels: 1, height: 28, width: 28 };
    };
  };
})();
