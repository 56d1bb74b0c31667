// Two tasks over two weights, and the directions in which the MAML family moves the start, as in chapter 6.
//
// A task is {curvatures: [h1, h2], degrees, best: [a, b]}: its loss, on support and query alike, is half the sum over
// two directions at right angles of h times the squared distance from `best` along them; the first lies at `degrees`.
// Settings are {alpha, lambda, steps}. Along a direction of curvature h each method gives a task a weight.
(() => {
  const living = (window.living = window.living || {});

  const left = (h, { alpha, steps }) => (1 - alpha * h) ** steps; // of the distance, after the inner steps
  const pulled = (h, { lambda }) => lambda / (lambda + h); // of the distance, at the minimum that the pull allows
  living.FAMILY = {
    maml: { name: "MAML", letter: "M", weight: (h, settings) => h * left(h, settings) ** 2 },
    first: { name: "first-order MAML", letter: "F", weight: (h, settings) => h * left(h, settings) },
    reptile: { name: "Reptile", letter: "R", weight: (h, settings) => (1 - left(h, settings)) / settings.alpha },
    implicit: { name: "implicit MAML", letter: "I", weight: (h, settings) => h * pulled(h, settings) ** 2 },
  };

  // A symmetric matrix is [xx, xy, yy].
  const times = ([xx, xy, yy], [a, b]) => [xx * a + xy * b, xy * a + yy * b];
  const minus = ([a, b], [c, d]) => [a - c, b - d];
  const plus = (a, b) => a.map((value, i) => value + b[i]);

  // The Hessian of a task, or any function of it: f is applied to its two curvatures.
  function matrixOf({ curvatures, degrees }, f) {
    const [c, s] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
    const [p, q] = curvatures.map(f);
    return [p * c * c + q * s * s, (p - q) * c * s, p * s * s + q * c * c];
  }

  // Eigenvalues, the larger first, and the angle in radians of the first one's direction.
  function eigen([xx, xy, yy]) {
    const [middle, half] = [(xx + yy) / 2, Math.hypot((xx - yy) / 2, xy)];
    return { values: [middle + half, middle - half], angle: Math.atan2(2 * xy, xx - yy) / 2 };
  }

  // The mean over tasks of weight(H) (theta - best): matrix theta - shift.
  function linear(method, tasks, settings) {
    const { weight } = living.FAMILY[method];
    const matrices = tasks.map((task) => matrixOf(task, (h) => weight(h, settings) / tasks.length));
    const shifts = tasks.map(({ best }, i) => times(matrices[i], best));
    return { matrix: matrices.reduce(plus), shift: shifts.reduce(plus) };
  }

  // What a method's outer loop descends along, at a start.
  living.metaGradient = (method, tasks, theta, settings) => {
    const { matrix, shift } = linear(method, tasks, settings);
    return minus(times(matrix, theta), shift);
  };

  // Where a method stands still, and whether a small step of it leads there: else it runs away.
  living.endOf = (method, tasks, settings) => {
    const { matrix, shift } = linear(method, tasks, settings);
    const [xx, xy, yy] = matrix;
    const determinant = xx * yy - xy * xy;
    const at = times([yy / determinant, -xy / determinant, xx / determinant], shift);
    return { at, attracts: eigen(matrix).values[1] > 1e-9 };
  };

  // The starts after 0, 1, … outer steps of a rate.
  living.wayOf = (method, tasks, theta, settings, rate, count) => {
    const { matrix, shift } = linear(method, tasks, settings);
    const way = [theta];
    while (way.length <= count) {
      const here = way[way.length - 1];
      const slope = minus(times(matrix, here), shift);
      way.push(here.map((value, i) => value - rate * slope[i]));
    }
    return way;
  };

  // best + f(H) (theta - best): the distance from the task's best weights, changed by a function of its Hessian.
  function scaled(task, theta, f) {
    return plus(task.best, times(matrixOf(task, f), minus(theta, task.best)));
  }

  // The weights after 0, 1, … inner steps on one task.
  living.innerPath = (task, theta, { alpha, steps }) =>
    Array.from({ length: steps + 1 }, (_, k) => scaled(task, theta, (h) => left(h, { alpha, steps: k })));

  // Where implicit MAML's inner loop ends: the minimum of loss plus lambda / 2 times the squared distance from theta.
  living.pulledMinimum = (task, theta, settings) => scaled(task, theta, (h) => pulled(h, settings));

  living.taskLoss = (task, theta) => {
    const away = minus(theta, task.best);
    const slope = times(matrixOf(task, (h) => h), away);
    return (away[0] * slope[0] + away[1] * slope[1]) / 2;
  };

  // The mean over tasks of the loss after the inner steps: what MAML minimises.
  living.metaLoss = (tasks, theta, settings) =>
    tasks.reduce((sum, task) => sum + living.taskLoss(task, living.innerPath(task, theta, settings).pop()), 0) /
    tasks.length;

  function ellipse(centre, matrix, height) {
    const { values, angle } = eigen(matrix);
    const [p, q] = values.map((value) => Math.sqrt((2 * height) / Math.max(value, 1e-6)));
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    return Array.from({ length: 121 }, (_, k) => {
      const [u, v] = [p * Math.cos((k * Math.PI) / 60), q * Math.sin((k * Math.PI) / 60)];
      return [centre[0] + u * c - v * s, centre[1] + u * s + v * c];
    });
  }

  // The points where metaLoss is `above` its minimum, and those where a task's own loss has a height.
  living.contourOf = (tasks, settings, above) =>
    ellipse(living.endOf("maml", tasks, settings).at, linear("maml", tasks, settings).matrix, above);
  living.taskContour = (task, height) => ellipse(task.best, matrixOf(task, (h) => h), height);
})();
