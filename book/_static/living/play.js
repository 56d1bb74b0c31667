// Let a drawing draw itself.
(() => {
  const living = (window.living = window.living || {});

  // The beginning of a drawing: a share of its points, in the order in which they were drawn.
  function beginningOf(strokes, share) {
    let left = Math.ceil(share * strokes.flat().length);
    const parts = [];
    for (const stroke of strokes) {
      if (left > 0) parts.push(stroke.slice(0, left));
      left -= stroke.length;
    }
    return parts;
  }

  // Call show(strokes, finished) each frame; at once with the whole drawing for those who want no motion. Returns a
  // function that stops it.
  living.play = (strokes, milliseconds, show) => {
    const started = performance.now();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let going = true;
    function frame(now) {
      if (!going) return;
      const share = still ? 1 : Math.min(1, Math.max(0, (now - started) / milliseconds));
      show(beginningOf(strokes, share), share === 1);
      if (share < 1) requestAnimationFrame(frame);
    }
    frame(started);
    return () => (going = false);
  };
})();
