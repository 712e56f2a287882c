// Tables: headings that sort the rows, and a cue where a table is wider than its place.
"use strict";

// Put a button into each heading of the table's last heading row. `sort(index, descending)` orders the rows.
function addSortButtons(table, sort) {
  const headings = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  headings.forEach((heading, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      showSort(headings, index, descending);
      sort(index, descending);
    });
  });
  return headings;
}

function showSort(headings, index, descending) {
  for (const heading of headings) heading.removeAttribute("aria-sort");
  if (headings[index]) headings[index].setAttribute("aria-sort", descending ? "descending" : "ascending");
}

// Return the first number of a text as a number, or the text itself. A sign may be written as a minus.
function readCell(cell) {
  const text = cell ? cell.textContent.replace("◆", "").trim() : "";
  const match = /^[-+−]?[\d,]*\.?\d+/.exec(text);
  if (!cell || !cell.classList.contains("number")) return text.toLowerCase();
  return match ? Number(match[0].replaceAll(",", "").replace("−", "-")) : null;
}

// Compare two values. A missing number comes last in both directions.
function compareValues(a, b, descending) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return descending ? -order : order;
}

function sortRows(table, index, descending) {
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => [readCell(row.cells[index]), row]);
  keyed.sort(([a], [b]) => compareValues(a, b, descending));
  body.append(...keyed.map(([, row]) => row));
}

// Mark the sides on which a table continues, and show a hint while it is wider than its place.
function watchOverflow(box) {
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = "Scroll the table sideways for more columns →";
  box.before(hint);
  const update = () => {
    const rest = box.scrollWidth - box.clientWidth;
    hint.hidden = rest <= 1;
    box.toggleAttribute("data-more-left", box.scrollLeft > 1);
    box.toggleAttribute("data-more-right", box.scrollLeft < rest - 1);
  };
  box.addEventListener("scroll", update, { passive: true });
  const observer = new ResizeObserver(update);
  observer.observe(box);
  if (box.firstElementChild) observer.observe(box.firstElementChild);
  update();
}

for (const table of document.querySelectorAll("main .scroll table:not([data-sorted-by])")) {
  if (table.tHead && table.tBodies[0] && table.tBodies[0].rows.length > 1) {
    addSortButtons(table, (index, descending) => sortRows(table, index, descending));
  }
}
for (const box of document.querySelectorAll("main .scroll")) watchOverflow(box);
