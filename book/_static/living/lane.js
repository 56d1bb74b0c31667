// A car in a curved lane: metalearn.control.Lane, in double precision (chapter 16).
(() => {
  const living = (window.living = window.living || {});
  const { road, dt, gravity, wheelbase, understeer, lag, most } = living.runsInLane;

  // The road's curvature in 1/m at a position in m.
  living.curvature = (position) =>
    road.reduce((sum, [size, length, at]) => sum + size * Math.sin((2 * Math.PI * (position - at)) / length), 0);

  // How fast a car turns in rad/s. A state is offset, heading, wheels, speed, position; a context grip, load, wind.
  function yawRate([grip, load], [, , wheels, speed]) {
    const wanted = (speed ** 2 * Math.tan(wheels)) / wheelbase / (1 + understeer * load * speed ** 2);
    const limit = grip * gravity;
    return (limit * Math.tanh(wanted / limit)) / speed;
  }

  living.laneStep = (context, [offset, heading, wheels, speed, position], action) => {
    wheels += (1 - Math.exp(-dt / lag)) * (most * Math.min(1, Math.max(-1, action)) - wheels);
    const turn = yawRate(context, [offset, heading, wheels, speed]) - speed * living.curvature(position);
    const side = speed * Math.sin(heading) + context[2] / context[1];
    return [offset + dt * side, heading + dt * turn, wheels, speed, position + dt * speed * Math.cos(heading)];
  };

  // All states of a drive by these actions; from step `fails` on the context is the later one.
  living.laneDrive = (start, before, later, fails, actions) => {
    const states = [start];
    actions.forEach((action, k) => states.push(living.laneStep(k < fails ? before : later, states[k], action)));
    return states;
  };

  // The road as it is seen from a position: a function from positions to place and direction, in m and rad.
  living.roadFrom = (here, back, ahead) => {
    const places = new Map([[0, [0, 0, 0]]]);
    for (const [sign, count] of [[1, ahead], [-1, back]]) {
      let [x, y, angle] = [0, 0, 0];
      for (let k = 1; k <= count; k++) {
        const bend = sign * living.curvature(here + sign * (k - 0.5));
        [x, y] = [x + sign * Math.cos(angle + bend / 2), y + sign * Math.sin(angle + bend / 2)];
        angle += bend;
        places.set(sign * k, [x, y, angle]);
      }
    }
    const at = (k) => places.get(Math.min(ahead, Math.max(-back, k)));
    return (position, offset) => {
      const near = Math.floor(position - here);
      const [share, low, high] = [position - here - near, at(near), at(near + 1)];
      const [x, y, angle] = low.map((value, i) => value + share * (high[i] - value));
      return [x - offset * Math.sin(angle), y + offset * Math.cos(angle), angle];
    };
  };
})();
