// Strokes to an image, as the encoder's training images were drawn (tools/render_glyphs.py).
//
// A drawing is a list of strokes, a stroke a list of points [x, y] on a board of 280 x 280 units, y downwards.
(() => {
  const living = (window.living = window.living || {});
  const SIZE = 28; // pixels: the image's side
  const BOX = 18; // pixels: the longer side of a drawing, its pen's width not counted
  const PEN = 0.8; // pixels: half the pen's width
  const LARGEST = 0.5; // pixels of the image for a unit of the board, at most: a dot stays a dot

  living.BOARD = 280;

  function boundsOf(points) {
    const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
    const least = (values) => values.reduce((a, b) => Math.min(a, b));
    const most = (values) => values.reduce((a, b) => Math.max(a, b));
    return { left: least(xs), right: most(xs), top: least(ys), bottom: most(ys) };
  }

  // Keep, for each pixel near a line from a to b, the distance of its centre to the nearest line so far.
  function approach(distance, [ax, ay], [bx, by]) {
    const [dx, dy] = [bx - ax, by - ay];
    const length2 = dx * dx + dy * dy || 1;
    const reach = PEN + 1;
    const first = (value) => Math.max(0, Math.floor(value - reach));
    const last = (value) => Math.min(SIZE - 1, Math.ceil(value + reach));
    for (let row = first(Math.min(ay, by)); row <= last(Math.max(ay, by)); row++) {
      for (let column = first(Math.min(ax, bx)); column <= last(Math.max(ax, bx)); column++) {
        const [px, py] = [column + 0.5 - ax, row + 0.5 - ay];
        const along = Math.min(1, Math.max(0, (px * dx + py * dy) / length2));
        const at = row * SIZE + column;
        distance[at] = Math.min(distance[at], Math.hypot(px - along * dx, py - along * dy));
      }
    }
  }

  // The image of a drawing: centred, of one size, drawn with one pen; ink 1 on 0, in 16 grey levels.
  living.imageOf = (strokes) => {
    const { left, right, top, bottom } = boundsOf(strokes.flat());
    const zoom = Math.min(LARGEST, BOX / Math.max(right - left, bottom - top));
    const place = ([x, y]) => [
      (x - (left + right) / 2) * zoom + SIZE / 2,
      (y - (top + bottom) / 2) * zoom + SIZE / 2,
    ];
    const distance = new Float32Array(SIZE * SIZE).fill(SIZE);
    for (const stroke of strokes) {
      const points = stroke.map(place);
      points.forEach((point, i) => approach(distance, points[Math.max(0, i - 1)], point));
    }
    // A pixel that the outline cuts in half is half grey.
    const data = distance.map((d) => Math.round(15 * Math.min(1, Math.max(0, PEN - d + 0.5))) / 15);
    return { data, channels: 1, height: SIZE, width: SIZE };
  };
})();
