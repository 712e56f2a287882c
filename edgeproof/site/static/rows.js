// What the pages with scripts share: numbers as text, elements with text that is never markup.
"use strict";
const name_of = (row) => `${row.device}/${row.runtime}/${row.model}/${row.scheme}`;

function digits(value) {
  if (value === undefined) return "–";
  return value.toLocaleString("en", { maximumSignificantDigits: Math.abs(value) < 1e4 ? 4 : 6 });
}

function shown(of) {
  if (of === undefined) return "–";
  return of.length < 3 ? digits(of[0]) : `${digits(of[0])} [${digits(of[1])}, ${digits(of[2])}]`;
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
