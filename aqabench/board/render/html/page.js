"use strict";
// Views: one at a time. Without this script all of them stand below each other.
const buttons = document.querySelectorAll("[data-show]");
function show(name) {
  for (const button of buttons) {
    button.setAttribute("aria-pressed", String(button.dataset.show === name));
  }
  for (const view of document.querySelectorAll("[data-view]")) {
    view.hidden = view.dataset.view !== name;
  }
}
for (const button of buttons) button.addEventListener("click", () => show(button.dataset.show));
if (buttons.length) show(buttons[0].dataset.show);

// Sorting: measured rows only, undefined ones last either way; equal ones keep their order.
function sort(table, column, down) {
  const body = table.querySelector("tbody.measured");
  const key = (row) => row.cells[column].dataset.key;
  const words = [...body.rows].some((row) => key(row) !== undefined && isNaN(Number(key(row))));
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    const order = words ? x.localeCompare(y, "en") : Number(x) - Number(y);
    return down ? -order : order;
  });
  body.append(...rows);
}
for (const button of document.querySelectorAll("button.sort")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const table = head.closest("table");
    const first = head.cellIndex > 1 ? "descending" : "ascending";
    const now = head.getAttribute("aria-sort");
    const other = first === "ascending" ? "descending" : "ascending";
    const next = now === first ? other : first;
    for (const one of table.querySelectorAll("thead th")) one.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", next);
    sort(table, head.cellIndex, next === "descending");
  });
}

// A number leads into a part that is folded or not shown: open it first.
function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  const view = target.closest("[data-view]");
  if (view && view.hidden) show(view.dataset.view);
  for (let at = target.closest("details"); at; at = at.parentElement.closest("details")) {
    at.open = true;
  }
  target.scrollIntoView();
}
addEventListener("hashchange", open);
open();
