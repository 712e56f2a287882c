// The plot of all results: filter the rows, draw them with Vega, list them in a table. The address holds the filters.
// The rows say which are on the front.
"use strict";
(() => {
  const { devices, figures, rows } = window.EDGEPROOF;
  const PARTS = ["device", "runtime", "scheme"];
  const ROWS_PER_PAGE = 50;
  const MARGIN_SHARE = 0.02;
  const MAX_INTERVALS = 200;
  // The palette of Okabe and Ito can be distinguished with any colour vision. The dark page uses the bright colours first.
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999"];
  const ON_DARK = ["#56B4E9", "#E69F00", "#00C490", "#CC79A7", "#F0E442", "#D55E00", "#999999"];
  const NARROW_PX = 640;
  const SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross"];
  const byId = (id) => document.getElementById(id);
  let shownRows = ROWS_PER_PAGE;
  // The values that the table can be sorted by, in the order of its columns. Without a choice, the front comes first.
  const SORT_VALUES = {
    artifact: ({ row }) => `${row.model} ${row.scheme} ${row.runtime}`, device: ({ row }) => devices[row.device],
    cost: (point) => point.cost, quality: (point) => point.quality, front: (point) => Number(!point.front),
  };
  const SORT_NAMES = Object.keys(SORT_VALUES);
  let sorting = null;
  let view = null;

  // Fill the list of figures and the filters; return true if there is any figure.
  function buildFilters() {
    const available = Object.keys(figures).filter((key) => key !== "quality" && rows.some((row) => key in row));
    for (const key of available) {
      const scenario = figures[key].scenario;
      byId("cost").append(createElement("option", (scenario ? `${scenario}: ` : "") + figures[key].title, { value: key }));
    }
    for (const fieldset of document.querySelectorAll("fieldset[data-part]")) {
      for (const value of new Set(rows.map((row) => row[fieldset.dataset.part]))) {
        const label = document.createElement("label");
        const box = createElement("input", "", { type: "checkbox" });
        box.checked = true;
        box.value = value;
        label.append(box, document.createTextNode(fieldset.dataset.part === "device" ? devices[value] : value));
        fieldset.append(label);
      }
    }
    return available.length > 0;
  }

  function checkedValues(part) {
    const boxes = document.querySelectorAll(`fieldset[data-part="${part}"] input`);
    return new Set([...boxes].filter((box) => box.checked).map((box) => box.value));
  }

  // Return a point for each row with both figures that passes the filters: those on the front first, each part by cost.
  function selectPoints(cost) {
    const allowed = Object.fromEntries(PARTS.map((part) => [part, checkedValues(part)]));
    const sign = figures[cost].better === "more" ? -1 : 1;
    const qualitySign = figures.quality.better === "more" ? -1 : 1;
    const points = rows
      .filter((row) => cost in row && "quality" in row && PARTS.every((part) => allowed[part].has(row[part])))
      .map((row) => ({ row, cost: row[cost][0], quality: row.quality[0], front: (row.front || []).includes(cost) }))
      .sort((a, b) => sign * (a.cost - b.cost) || qualitySign * (a.quality - b.quality));
    return [...points.filter((point) => point.front), ...points.filter((point) => !point.front)];
  }

  // Set the filters and the order from the address.
  function restoreChoices() {
    const query = readQuery();
    if (query.get("figure") in figures) byId("cost").value = query.get("figure");
    for (const part of PARTS.filter((each) => query.has(each))) {
      const chosen = new Set(query.getAll(part));
      for (const box of document.querySelectorAll(`fieldset[data-part="${part}"] input`)) box.checked = chosen.has(box.value);
    }
    const name = (query.get("sort") || "").replace(/^-/, "");
    if (SORT_NAMES.includes(name)) sorting = { name, descending: query.get("sort").startsWith("-") };
  }

  // Write the choices that differ from the first ones into the address.
  function saveChoices() {
    const entries = byId("cost").selectedIndex > 0 ? [["figure", byId("cost").value]] : [];
    for (const part of PARTS) {
      const boxes = [...document.querySelectorAll(`fieldset[data-part="${part}"] input`)];
      const checked = boxes.filter((box) => box.checked);
      if (checked.length === boxes.length) continue;
      entries.push(...(checked.length ? checked.map((box) => [part, box.value]) : [[part, ""]]));
    }
    if (sorting) entries.push(["sort", (sorting.descending ? "-" : "") + sorting.name]);
    writeQuery(entries);
  }

  function orderPoints(points) {
    if (!sorting) return points;
    const value = SORT_VALUES[sorting.name];
    return [...points].sort((a, b) => compareValues(value(a), value(b), sorting.descending));
  }

  function cssColour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function buildSpecification(cost, points) {
    const values = points.map(({ row, cost: x, quality, front }) => ({
      x, quality, front, ...interval("x", row[cost]), ...interval("y", row.quality), device: devices[row.device], runtime: row.runtime, scheme: row.scheme, model: row.model, page: row.page,
      cost: formatFigure(row[cost]), share: formatQuality(row),
    }));
    const namesIn = (part) => [...new Set(rows.map((row) => row[part]))];
    const [low, high] = [Math.min(...values.map((value) => value.yLow)), Math.max(...values.map((value) => value.yHigh))];
    const margin = MARGIN_SHARE * (high - low) || 0.5;
    const x = { field: "x", type: "quantitative", title: figures[cost].title, scale: { type: "log", nice: false, padding: 12 } };
    const y = { field: "quality", type: "quantitative", title: figures.quality.title, scale: { domain: [low - margin, high + margin] } };
    const [ink, soft, line] = ["--ink", "--soft", "--line"].map(cssColour);
    const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    const narrow = byId("plot").clientWidth < NARROW_PX;
    const text = { labelFontSize: 12, titleFontSize: 12 };
    return {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json",
      description: `${figures.quality.title} against ${figures[cost].title} of ${values.length} artifacts. The table below has the same values.`,
      width: "container", height: 400, autosize: { type: "fit", contains: "padding" }, background: null,
      data: { name: "points", values },
      layer: [
        ...drawIntervals(x, y, soft, points.length > MAX_INTERVALS),
        { mark: { type: "point", filled: true, size: 60, cursor: "pointer" },
          encoding: {
            x, y,
            color: { field: "runtime", scale: { domain: namesIn("runtime"), range: dark ? ON_DARK : COLOURS } },
            shape: { field: "scheme", scale: { domain: namesIn("scheme"), range: SHAPES } },
            opacity: { condition: { test: "datum.front", value: 1 }, value: (points.length > 500 ? 0.25 : 0.45) + (dark ? 0.15 : 0) },
            href: { field: "page" },
            tooltip: [
              { field: "model" }, { field: "scheme" }, { field: "runtime" }, { field: "device" },
              { field: "cost", title: figures[cost].title }, { field: "share", title: figures.quality.title },
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

  // Return the ends of a figure's interval, which are the value itself if it has none.
  function interval(name, [value, low = value, high = value]) {
    return { [`${name}Low`]: low, [`${name}High`]: high };
  }

  // Return the layers of both intervals; of many points, only those on the front have them.
  function drawIntervals(x, y, color, onlyFront) {
    const shared = {
      mark: { type: "rule", color, strokeWidth: 1 },
      transform: onlyFront ? [{ filter: "datum.front" }] : [],
    };
    const opacity = { condition: { test: "datum.front", value: 0.9 }, value: 0.35 };
    return [
      { ...shared, encoding: { x: { ...x, field: "xLow" }, x2: { field: "xHigh" }, y, opacity } },
      { ...shared, encoding: { x, y: { ...y, field: "yLow" }, y2: { field: "yHigh" }, opacity } },
    ];
  }

  async function draw() {
    const cost = byId("cost").value;
    const points = selectPoints(cost);
    const unbeatenCount = points.filter((point) => point.front).length;
    byId("status").textContent = points.length
      ? `${points.length.toLocaleString("en")} results shown, ${unbeatenCount} of them best trade-offs.`
      : "No result with this figure matches the filters.";
    fillTable(cost, points);
    if (view) view.finalize();
    view = null;
    byId("plot").replaceChildren();
    if (!points.length) return;
    const embedded = await window.vegaEmbed("#plot", buildSpecification(cost, points), { actions: false, renderer: "canvas" });
    view = embedded.view;
    document.documentElement.dataset.drawn = String(points.length);
  }

  function fillTable(cost, points) {
    byId("cost-heading").textContent = figures[cost].title;
    const lines = orderPoints(points).slice(0, shownRows).map(({ row, front }) => {
      const line = document.createElement("tr");
      const first = createElement("th", "", { scope: "row" });
      first.append(createElement("a", `${row.model} ${row.scheme} on ${row.runtime}`, { href: row.page }));
      line.append(
        first, createElement("td", devices[row.device]), createElement("td", formatFigure(row[cost]), { class: "number" }),
        createElement("td", formatQuality(row), { class: "number" }), createElement("td", front ? "◆ yes" : "no"),
      );
      return line;
    });
    byId("points").replaceChildren(...lines);
    byId("more").hidden = points.length <= shownRows;
  }

  function fillTableAgain() {
    fillTable(byId("cost").value, selectPoints(byId("cost").value));
  }

  if (buildFilters()) {
    restoreChoices();
    const headings = addSortButtons(byId("table"), (index, descending) => {
      sorting = { name: SORT_NAMES[index], descending };
      saveChoices();
      fillTableAgain();
    });
    if (sorting) showSort(headings, SORT_NAMES.indexOf(sorting.name), sorting.descending);
    document.querySelector("form.filters").addEventListener("change", () => { shownRows = ROWS_PER_PAGE; saveChoices(); draw(); });
    document.querySelector("form.filters").addEventListener("submit", (event) => event.preventDefault());
    byId("more").addEventListener("click", () => { shownRows += ROWS_PER_PAGE; fillTableAgain(); });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    draw();
  } else {
    byId("status").textContent = "There are no records yet.";
    byId("more").hidden = true;
  }
})();
