// Prototypes in a plane: means, logits, and the region of the plane in which each class wins.
//
// A point is [x, y]; `classes` is a list of points for each class. By squared distance and by cosine alike, the border
// between two classes is a straight line; by cosine it goes through the origin.
(() => {
  const living = (window.living = window.living || {});
  const TEMPERATURE = { euclidean: 1, cosine: 0.1 }; // cosines lie in [-1, 1]
  const dot = ([a, b], [c, d]) => a * c + b * d;
  const cosine = (a, b) => dot(a, b) / Math.max(Math.hypot(...a) * Math.hypot(...b), 1e-12);

  living.prototypesOf = (classes) => classes.map(living.meanOf);

  living.similarity = {
    euclidean: (query, prototype) => -living.squaredDistance(query, prototype),
    cosine,
  };

  living.probabilities = (query, prototypes, kind) =>
    living.softmax(prototypes.map((prototype) => living.similarity[kind](query, prototype) / TEMPERATURE[kind]));

  // Class a beats class b where normal · point > offset.
  function border(a, b, kind) {
    if (kind === "euclidean") return { normal: [a[0] - b[0], a[1] - b[1]], offset: (dot(a, a) - dot(b, b)) / 2 };
    const [u, v] = [a, b].map((point) => point.map((value) => value / Math.max(Math.hypot(...point), 1e-12)));
    return { normal: [u[0] - v[0], u[1] - v[1]], offset: 0 };
  }

  // The part of a convex polygon on the winning side of a border.
  function cut(polygon, { normal, offset }) {
    const height = (point) => dot(normal, point) - offset;
    return polygon.flatMap((point, i) => {
      const next = polygon[(i + 1) % polygon.length];
      const [here, there] = [height(point), height(next)];
      const kept = here >= 0 ? [point] : [];
      if (here >= 0 === there >= 0) return kept;
      const share = here / (here - there);
      return [...kept, [point[0] + share * (next[0] - point[0]), point[1] + share * (next[1] - point[1])]];
    });
  }

  // The region of each class within a square from -side to side: a convex polygon, or nothing.
  living.regions = (prototypes, kind, side) =>
    prototypes.map((own, i) =>
      prototypes.reduce(
        (polygon, other, j) => (i === j ? polygon : cut(polygon, border(own, other, kind))),
        [[-side, -side], [side, -side], [side, side], [-side, side]], // prettier-ignore
      ),
    );
})();
