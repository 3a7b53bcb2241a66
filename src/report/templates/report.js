// The behaviour of the page: tables that sort, and charts that are drawn when they come into sight.
"use strict";

/** Sort the rows of a table by the column of the clicked button: numbers from the largest, texts from A, then the other way. */
function sortByColumn(button) {
  const heading = button.closest("th");
  const body = button.closest("table").tBodies[0];
  const column = heading.cellIndex;
  const isNumber = heading.classList.contains("number");
  const before = heading.getAttribute("aria-sort");
  const descending = before ? before === "ascending" : isNumber;
  const keyOf = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  const compare = (a, b) => (isNumber ? a - b : a.localeCompare(b)) * (descending ? -1 : 1);
  const rows = [...body.rows].map((row) => [keyOf(row), row]);
  rows.sort(([a], [b]) => (a === "") - (b === "") || compare(a, b)); // rows without a value come last
  body.append(...rows.map(([, row]) => row));
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sortByColumn(button));
}

const specifications = JSON.parse(document.getElementById("specifications").textContent);

/** Draw the chart of an element. Expressions are interpreted, not compiled: the page forbids `eval`. */
function draw(element) {
  const specification = structuredClone(specifications[element.dataset.chart]);
  const { columns, rows, height } = JSON.parse(document.getElementById(`${element.id}-data`).textContent);
  specification.height = height;
  specification.data = { values: rows.map((row) => Object.fromEntries(row.map((value, place) => [columns[place], value]))) };
  const place = element.appendChild(document.createElement("div")); // Vega gives its place a role and a label of its own
  return vegaEmbed(place, specification, { actions: false, ast: true, defaultStyle: false, renderer: "svg" });
}

function drawNow(element) {
  waiting.delete(element);
  inSight.unobserve(element);
  draw(element).catch((error) => {
    element.textContent = `This chart cannot be drawn: ${error.message}`;
    console.error(error);
  });
}

const waiting = new Set(document.querySelectorAll("[data-chart]"));
const inSight = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => drawNow(entry.target)),
  { rootMargin: "300px" },
);
for (const element of waiting) inSight.observe(element);

// What is printed must be there, whether it has been in sight or not. Charts of closed sections are not printed.
addEventListener("beforeprint", () => [...waiting].filter((element) => element.checkVisibility()).forEach(drawNow));
