// What the pages with scripts share: numbers as text, elements with text that is never markup.
"use strict";
const name_of = (row) => `${row.device}/${row.runtime}/${row.model}/${row.scheme}`;

// A value with its interval, both to two significant digits of the interval's half width, as in every table.
function shown(of) {
  if (of === undefined) return "–";
  if (of.length < 3) return of[0].toLocaleString("en", { maximumSignificantDigits: Math.abs(of[0]) < 1e4 ? 4 : 12 });
  const half = Math.max(of[2] - of[0], of[0] - of[1]);
  const digits = half > 0 ? Math.max(0, Math.min(3, 1 - Math.floor(Math.log10(half)))) : 0;
  const [value, low, high] = of.map((number) =>
    number.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  return `${value} [${low}, ${high}]`;
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
