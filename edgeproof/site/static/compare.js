// Two cells side by side. The choice is kept in the address, so that it can be sent to someone.
"use strict";
(() => {
  const { figures, rows } = window.EDGEPROOF;
  const by_name = new Map(rows.map((row) => [name_of(row), row]));
  const at = (id) => document.getElementById(id);
  const SUGGESTED = 40;

  // The ratio of two independent positive estimates; intervals are combined on the logarithmic scale.
  function ratio(a, b) {
    const value = b[0] / a[0];
    if (a.length < 3 || b.length < 3 || Math.min(...a, ...b) <= 0) return [value];
    const up = Math.hypot(Math.log(b[2] / b[0]), Math.log(a[0] / a[1]));
    const down = Math.hypot(Math.log(b[0] / b[1]), Math.log(a[2] / a[0]));
    return [value, value * Math.exp(-down), value * Math.exp(up)];
  }

  function verdict(figure, of) {
    if (of.length < 3) return of[0] === 1 ? "the same" : "";
    if (of[1] <= 1 && of[2] >= 1) return "no difference shown";
    const more = of[0] > 1;
    return figure.better === "less" ? (more ? "▲ worse" : "▼ better") : more ? "▲ better" : "▼ worse";
  }

  function suggest(input) {
    const words = input.value.toLowerCase().split(/[\s/]+/).filter(Boolean);
    const found = [];
    for (const name of by_name.keys()) {
      if (words.every((word) => name.toLowerCase().includes(word))) found.push(element("option", "", { value: name }));
      if (found.length === SUGGESTED) break;
    }
    at("cells").replaceChildren(...found);
  }

  function compare() {
    const [a, b] = [by_name.get(at("a").value), by_name.get(at("b").value)];
    at("figures").replaceChildren();
    if (!a || !b) {
      at("told").textContent = rows.length ? "Name two cells: type a part of a model, runtime, scheme or device." : "Nothing was measured yet.";
      return;
    }
    at("told").textContent = a.device === b.device ? "" : "Two devices: their conditions are unlike.";
    for (const [key, figure] of Object.entries(figures)) {
      if (!(key in a) && !(key in b)) continue;
      const line = document.createElement("tr");
      const told = key in a && key in b ? ratio(a[key], b[key]) : undefined;
      line.append(
        element("th", figure.title, { scope: "row" }), element("td", shown(a[key]), { class: "number" }),
        element("td", shown(b[key]), { class: "number" }), element("td", shown(told), { class: "number" }),
        element("td", told ? verdict(figure, told) : "refused or not measured"),
      );
      at("figures").append(line);
    }
    history.replaceState(null, "", `#${new URLSearchParams({ a: at("a").value, b: at("b").value })}`);
  }

  const asked = new URLSearchParams(location.hash.slice(1));
  for (const [n, id] of ["a", "b"].entries()) {
    at(id).value = asked.get(id) || (rows[n] ? name_of(rows[n]) : "");
    at(id).addEventListener("input", () => { suggest(at(id)); compare(); });
    at(id).addEventListener("focus", () => suggest(at(id)));
  }
  document.querySelector("form.filters").addEventListener("submit", (event) => event.preventDefault());
  compare();
})();
