// Compare two results. The address contains the choice, so that it can be shared.
"use strict";
(() => {
  const { figures, rows } = window.EDGEPROOF;
  const rowsByName = new Map(rows.map((row) => [cellName(row), row]));
  const byId = (id) => document.getElementById(id);
  const MAX_SUGGESTIONS = 40;

  // Return [value] or [value, low, high] of b / a for two independent estimates above 0.
  // Their intervals are combined on the logarithmic scale.
  function divide(a, b) {
    const value = b[0] / a[0];
    if (a.length < 3 || b.length < 3 || Math.min(...a, ...b) <= 0) return [value];
    const up = Math.hypot(Math.log(b[2] / b[0]), Math.log(a[0] / a[1]));
    const down = Math.hypot(Math.log(b[0] / b[1]), Math.log(a[2] / a[0]));
    return [value, value * Math.exp(-down), value * Math.exp(up)];
  }

  function describeChange(figure, change) {
    if (change.length < 3) return change[0] === 1 ? "equal" : "";
    if (change[1] <= 1 && change[2] >= 1) return "no difference shown";
    const isHigher = change[0] > 1;
    const isBetter = isHigher === (figure.better !== "less");
    return `${isHigher ? "▲" : "▼"} ${isBetter ? "better" : "worse"}`;
  }

  function suggestCells(input) {
    const words = input.value.toLowerCase().split(/[\s/]+/).filter(Boolean);
    const options = [];
    for (const name of rowsByName.keys()) {
      if (words.every((word) => name.toLowerCase().includes(word))) options.push(createElement("option", "", { value: name }));
      if (options.length === MAX_SUGGESTIONS) break;
    }
    byId("cells").replaceChildren(...options);
  }

  function compare() {
    const [a, b] = [rowsByName.get(byId("a").value), rowsByName.get(byId("b").value)];
    byId("figures").replaceChildren();
    if (!a || !b) {
      byId("status").textContent = rows.length
        ? "Choose two results: type a part of a device, runtime, model or scheme."
        : "There are no records yet.";
      return;
    }
    byId("status").textContent = a.device === b.device ? "" : "A and B were measured on different devices.";
    for (const [key, figure] of Object.entries(figures)) {
      if (!(key in a) && !(key in b)) continue;
      const line = document.createElement("tr");
      const isComparable = key !== "quality" || a.metric === b.metric;
      const change = key in a && key in b && isComparable ? divide(a[key], b[key]) : undefined;
      const format = (row) => (key === "quality" ? formatQuality(row) : formatFigure(row[key]));
      const better = (key === "quality" && a.better) || figure.better;
      line.append(
        createElement("th", figure.title, { scope: "row" }), createElement("td", format(a), { class: "number" }),
        createElement("td", format(b), { class: "number" }), createElement("td", formatFigure(change), { class: "number" }),
        createElement("td", change ? describeChange({ ...figure, better }, change) : isComparable ? "refused or not measured" : "different metrics"),
      );
      byId("figures").append(line);
    }
    writeQuery([["a", byId("a").value], ["b", byId("b").value]]);
  }

  const choice = readQuery();
  for (const [index, id] of ["a", "b"].entries()) {
    byId(id).value = choice.get(id) || (rows[index] ? cellName(rows[index]) : "");
    byId(id).addEventListener("input", () => { suggestCells(byId(id)); compare(); });
    byId(id).addEventListener("focus", () => suggestCells(byId(id)));
  }
  document.querySelector("form.filters").addEventListener("submit", (event) => event.preventDefault());
  compare();
})();
