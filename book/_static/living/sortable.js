// Make the heads of a table's columns buttons that sort it. Without this script the table stands as it was written.
(() => {
  // What a row is sorted by: its cell's number, else its text; null where the cell is empty.
  function keyOf(row, column) {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    if (text === "") return null;
    return Number.isNaN(Number(text)) ? text : Number(text);
  }

  // Numbers among themselves, then texts.
  function compare(a, b) {
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return typeof a === "number" ? (a < b ? -1 : Number(a > b)) : a.localeCompare(b);
  }

  // Rows without a value come last, whatever the direction; equal ones keep their order.
  function sort(body, column, sign) {
    const rows = [...body.rows].map((row) => [keyOf(row, column), row]);
    const known = rows.filter(([key]) => key !== null).sort(([a], [b]) => sign * compare(a, b));
    body.append(...[...known, ...rows.filter(([key]) => key === null)].map(([, row]) => row));
  }

  function prepare(box) {
    const table = box.querySelector("table");
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const numbers = [...body.rows].some((row) => typeof keyOf(row, column) === "number");
        const before = head.getAttribute("aria-sort");
        const falls = before ? before === "ascending" : numbers; // numbers: the largest first, names: from A
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", falls ? "descending" : "ascending");
        sort(body, column, falls ? -1 : 1);
      });
    });
  }

  document.querySelectorAll("[data-living~=sortable]").forEach(prepare);
})();
