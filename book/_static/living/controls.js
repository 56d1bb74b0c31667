// What stands around a living picture: sliders, choices, buttons, and a sentence that is read out.
//
//   const rate = living.slider(root, { label: "Step", min: 0, max: 1, step: 0.01, value: 0.1 }, (value) => …);
//   const order = living.choice(root, { label: "Order", options: [["1", "first"], ["2", "second"]] }, (value) => …);
//   living.button(root, "Again", () => …);   const say = living.status(root);   say("What happened.");
//
// `rate.value()` and `order.value()` read; `rate.set(0.2)` and `order.set("2")` show a value and call nothing.
(() => {
  const living = (window.living = window.living || {});
  let count = 0; // for names that occur once on a page

  // A new element: living.tag("p", { class: "living-legend" }, root, "text").
  living.tag = (name, attributes = {}, parent = null, text = null, space = "http://www.w3.org/1999/xhtml") => {
    const node = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };

  // A number as text, with so many digits after the point, or with as many as it has.
  living.number = (value, digits = 2) => (digits === null ? String(value) : value.toFixed(digits)).replace("-", "−");

  living.button = (root, text, pressed, kind = "") => {
    const node = living.tag("button", { type: "button", class: kind }, root, text);
    node.addEventListener("click", pressed);
    return node;
  };

  // A labelled slider that shows its value as `text` makes it.
  living.slider = (root, { label, min, max, step, value, text = String }, changed) => {
    const frame = living.tag("label", { class: "living-slider" }, root, `${label} `);
    const shown = living.tag("b", {}, frame);
    const input = living.tag("input", { type: "range", min, max, step, value }, frame);
    const show = () => {
      shown.textContent = text(Number(input.value));
      input.setAttribute("aria-valuetext", shown.textContent);
    };
    input.addEventListener("input", () => (show(), changed(Number(input.value))));
    show();
    return { input, value: () => Number(input.value), set: (next) => ((input.value = next), show()) };
  };

  // One of a few, side by side; arrow keys choose, as among any radio buttons.
  living.choice = (root, { label, options, value = options[0][0] }, changed) => {
    const frame = living.tag("fieldset", { class: "living-choice" }, root);
    living.tag("legend", {}, frame, label);
    const name = `living-choice-${count++}`;
    const inputs = options.map(([key, text]) => {
      const one = living.tag("label", {}, frame);
      const input = living.tag("input", { type: "radio", name, value: key }, one);
      living.tag("span", {}, one, text);
      input.checked = key === value;
      input.addEventListener("change", () => changed(key));
      return input;
    });
    return {
      frame,
      value: () => inputs.find((input) => input.checked).value,
      set: (next) => inputs.forEach((input) => (input.checked = input.value === next)),
    };
  };

  // A sentence that screen readers read out when it changes. Returns the function that says it.
  living.status = (root, kind = "living-status") => {
    const node = living.tag("p", { class: kind, role: "status" }, root);
    return (text) => {
      if (node.textContent !== text) node.textContent = text;
    };
  };
})();
