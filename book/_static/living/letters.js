// A classifier of letters that learns from drawings: a mean of features for each letter, and the nearest mean wins.
(() => {
  const living = (window.living = window.living || {});

  living.MOST_DRAWINGS = 5;

  // `weights` is what tools/living_weights.py wrote. A letter is a number from 0, an image as in tensors.js.
  living.alphabet = (nLetters, weights) => {
    const encode = living.encoder(weights);
    const drawings = Array.from({ length: nLetters }, () => []); // of each letter: {image, features}
    const known = () => drawings.filter((list) => list.length > 0);

    // The squared distance of an image from each letter's mean, and how far a drawing of that letter may lie from it.
    function compare(image, strictness) {
      const features = encode(image);
      return drawings.map((list, letter) => {
        if (list.length === 0) return null;
        const prototype = living.meanOf(list.map((drawing) => drawing.features));
        const limit = weights.limits[list.length - 1][strictness];
        return { letter, distance: living.squaredDistance(features, prototype), limit };
      });
    }

    return {
      drawings,
      learn: (letter, image) => drawings[letter].push({ image, features: encode(image) }),
      undo: (letter) => drawings[letter].pop(),
      forget: (letter) => drawings[letter].splice(0),

      // {compared, ranked, letter}: a comparison or null for each letter; the comparisons, nearest first; the nearest
      // letter, or null for "none of these". Probabilities would not do: they are relative, and one letter always wins.
      answer: (image, strictness) => {
        const compared = compare(image, strictness);
        const ranked = compared.filter(Boolean).sort((a, b) => a.distance - b.distance);
        const nearest = ranked[0];
        return { compared, ranked, letter: nearest && nearest.distance <= nearest.limit ? nearest.letter : null };
      },

      // The share of printed letters other than the known ones that a limit turned away, with as many letters and
      // as many drawings of each as here, and how many these are: the fewest of any letter count.
      rejected: (strictness) => {
        if (known().length === 0) return null;
        const fewest = Math.min(...known().map((list) => list.length));
        const share = weights.rejected[known().length - 1][fewest - 1][strictness];
        return { share, nLetters: known().length, fewest };
      },
    };
  };
})();
