// Functions that several pages share: format figures, create elements whose text is never markup.
"use strict";
const cellName = (row) => `${row.device}/${row.runtime}/${row.model}/${row.scheme}`;

// Creating a formatter takes a hundred times longer than using it.
const fixed = [0, 1, 2, 3].map((digits) =>
  new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
const significant = [4, 12].map((digits) => new Intl.NumberFormat("en", { maximumSignificantDigits: digits }));

// Format [value] or [value, low, high]. As in every table, the interval's half width has two significant digits.
function formatFigure(figure) {
  if (figure === undefined) return "–";
  if (figure.length < 3) return significant[Math.abs(figure[0]) < 1e4 ? 0 : 1].format(figure[0]);
  const halfWidth = Math.max(figure[2] - figure[0], figure[0] - figure[1]);
  const digits = halfWidth > 0 ? Math.max(0, Math.min(3, 1 - Math.floor(Math.log10(halfWidth)))) : 0;
  const [value, low, high] = figure.map(fixed[digits].format);
  return `${value} [${low}, ${high}]`;
}

// Format the quality of a row. Rows name their metric where the site has several.
function formatQuality(row) {
  return row.quality === undefined ? formatFigure() : [row.metric, formatFigure(row.quality)].filter(Boolean).join(" ");
}

function createElement(tag, text, attributes = {}) {
  const node = document.createElement(tag);
  node.textContent = text;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}
