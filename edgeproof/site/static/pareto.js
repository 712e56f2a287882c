// The Pareto plot: filters choose rows, each device's front is found anew, Vega draws, and a table tells the same.
"use strict";
(() => {
  const { figures, rows } = window.EDGEPROOF;
  const PARTS = ["device", "runtime", "scheme"];
  const A_PAGE = 50;
  const MARGIN_SHARE = 0.02;
  // Okabe and Ito's palette, told apart with any colour vision, the bright ones first in the dark; shapes are schemes.
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999"];
  const ON_DARK = ["#56B4E9", "#E69F00", "#00C490", "#CC79A7", "#F0E442", "#D55E00", "#999999"];
  const NARROW_PX = 640;
  const SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross"];
  const at = (id) => document.getElementById(id);
  let length = A_PAGE;
  let view = null;

  function choices() {
    const known = Object.keys(figures).filter((key) => key !== "accuracy" && rows.some((row) => key in row));
    for (const key of known) {
      const scenario = figures[key].scenario;
      at("cost").append(element("option", (scenario ? `${scenario}: ` : "") + figures[key].title, { value: key }));
    }
    for (const fieldset of document.querySelectorAll("fieldset[data-part]")) {
      for (const value of new Set(rows.map((row) => row[fieldset.dataset.part]))) {
        const label = document.createElement("label");
        const box = element("input", "", { type: "checkbox" });
        box.checked = true;
        box.value = value;
        label.append(box, document.createTextNode(value));
        fieldset.append(label);
      }
    }
    return known.length > 0;
  }

  function chosen(part) {
    const boxes = document.querySelectorAll(`fieldset[data-part="${part}"] input`);
    return new Set([...boxes].filter((box) => box.checked).map((box) => box.value));
  }

  // Rows with both figures, each device's front marked, front first and then by cost.
  function selected(cost) {
    const allowed = Object.fromEntries(PARTS.map((part) => [part, chosen(part)]));
    const sign = figures[cost].better === "more" ? -1 : 1;
    const points = rows
      .filter((row) => cost in row && "accuracy" in row && PARTS.every((part) => allowed[part].has(row[part])))
      .map((row) => ({ row, cost: row[cost][0], accuracy: row.accuracy[0], front: false }))
      .sort((a, b) => sign * (a.cost - b.cost) || b.accuracy - a.accuracy);
    const best = {};
    for (const point of points) {
      if (!(point.accuracy <= best[point.row.device])) {
        best[point.row.device] = point.accuracy;
        point.front = true;
      }
    }
    return [...points.filter((point) => point.front), ...points.filter((point) => !point.front)];
  }

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function specification(cost, points) {
    const values = points.map(({ row, cost: x, accuracy, front }) => ({
      x, accuracy, front, device: row.device, runtime: row.runtime, scheme: row.scheme, model: row.model, page: row.page,
      cost: shown(row[cost]), share: shown(row.accuracy),
    }));
    const of = (part) => [...new Set(rows.map((row) => row[part]))];
    const accuracies = values.map((value) => value.accuracy);
    const [low, high] = [Math.min(...accuracies), Math.max(...accuracies)];
    const margin = MARGIN_SHARE * (high - low) || 0.5;
    const x = { field: "x", type: "quantitative", title: figures[cost].title, scale: { type: "log", nice: false, padding: 12 } };
    const y = { field: "accuracy", type: "quantitative", title: "accuracy, %", scale: { domain: [low - margin, high + margin] } };
    const [ink, soft, line] = ["--ink", "--soft", "--line"].map(colour);
    const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    const narrow = at("plot").clientWidth < NARROW_PX;
    const text = { labelFontSize: 12, titleFontSize: 12 };
    return {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json",
      description: `Accuracy against ${figures[cost].title} of ${values.length} artifacts. The table below tells the same.`,
      width: "container", height: 400, autosize: { type: "fit", contains: "padding" }, background: null,
      data: { name: "points", values },
      layer: [
        { transform: [{ filter: "datum.front" }],
          mark: { type: "line", interpolate: "step-after", color: soft, strokeWidth: 1.5 },
          encoding: { x, y, detail: { field: "device" }, order: { field: "x" } } },
        { mark: { type: "point", filled: true, size: 60, cursor: "pointer" },
          encoding: {
            x, y,
            color: { field: "runtime", scale: { domain: of("runtime"), range: dark ? ON_DARK : COLOURS } },
            shape: { field: "scheme", scale: { domain: of("scheme"), range: SHAPES } },
            opacity: { condition: { test: "datum.front", value: 1 }, value: (points.length > 500 ? 0.25 : 0.45) + (dark ? 0.15 : 0) },
            href: { field: "page" },
            tooltip: [
              { field: "model" }, { field: "scheme" }, { field: "runtime" }, { field: "device" },
              { field: "cost", title: figures[cost].title }, { field: "share", title: "accuracy, %" },
            ],
          } },
      ],
      config: {
        font: "system-ui, sans-serif",
        axis: { ...text, labelColor: soft, titleColor: ink, gridColor: line, domainColor: soft, tickColor: soft },
        legend: {
          ...text, labelColor: ink, titleColor: ink, orient: "bottom", symbolFillColor: soft, symbolStrokeColor: soft,
          columns: narrow ? 2 : 4, layout: { bottom: { direction: narrow ? "vertical" : "horizontal", margin: 12 } },
        },
        view: { stroke: line },
      },
    };
  }

  async function draw() {
    const cost = at("cost").value;
    const points = selected(cost);
    const optimal = points.filter((point) => point.front).length;
    at("told").textContent = points.length
      ? `${points.length.toLocaleString("en")} artifacts shown, ${optimal} of them Pareto-optimal.`
      : "No artifact with this figure passes the filters.";
    table(cost, points);
    if (view) view.finalize();
    view = null;
    at("plot").replaceChildren();
    if (!points.length) return;
    const made = await window.vegaEmbed("#plot", specification(cost, points), { actions: false, renderer: "canvas" });
    view = made.view;
    document.documentElement.dataset.drawn = String(points.length);
  }

  function table(cost, points) {
    at("cost-heading").textContent = figures[cost].title;
    const lines = points.slice(0, length).map(({ row, front }) => {
      const line = document.createElement("tr");
      const first = element("th", "", { scope: "row" });
      first.append(element("a", `${row.model} ${row.scheme} on ${row.runtime}`, { href: row.page }));
      line.append(
        first, element("td", row.device), element("td", shown(row[cost]), { class: "number" }),
        element("td", shown(row.accuracy), { class: "number" }), element("td", front ? "◆ yes" : "no"),
      );
      return line;
    });
    at("points").replaceChildren(...lines);
    at("more").hidden = points.length <= length;
  }

  if (choices()) {
    document.querySelector("form.filters").addEventListener("change", () => { length = A_PAGE; draw(); });
    document.querySelector("form.filters").addEventListener("submit", (event) => event.preventDefault());
    at("more").addEventListener("click", () => { length += A_PAGE; table(at("cost").value, selected(at("cost").value)); });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    draw();
  } else {
    at("told").textContent = "Nothing was measured yet.";
    at("more").hidden = true;
  }
})();
