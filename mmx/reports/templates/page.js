"use strict";
(() => {
  // Colours are tokens of the style sheet, so that charts follow it from light to dark and to print.
  const type = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";
  const config = {
    background: null, font: type, padding: 0,
    view: { stroke: null },
    axis: {
      labelColor: "var(--soft)", titleColor: "var(--soft)", domainColor: "var(--line)", tickColor: "var(--line)", gridColor: "var(--grid)",
      labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelFontWeight: "normal", tickSize: 4, labelPadding: 5, titlePadding: 8,
    },
    axisX: { grid: false }, axisY: { domain: false, ticks: false },
    axisBand: { domain: false, ticks: false, grid: false },
    text: { color: "var(--ink)", fontSize: 12 }, line: { strokeWidth: 2, strokeJoin: "round", strokeCap: "round" },
    rule: { color: "var(--line)" }, mark: { color: "var(--c1)" }, header: { labelColor: "var(--soft)", titleColor: "var(--soft)" },
    legend: { labelColor: "var(--soft)", titleColor: "var(--soft)", labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" },
    range: { category: ["var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c6)", "var(--plain)"] },
  };

  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  async function drawCharts() {
    const library = document.getElementById("library");
    const figures = [...document.querySelectorAll("figure.chart")];
    if (!library) { // the page says why
      for (const figure of figures) figure.dataset.drawn = "no";
      return;
    }
    const script = document.createElement("script");
    script.textContent = await inflate(library.textContent);
    document.head.append(script);
    for (const figure of figures) {
      const closed = figure.parentElement.closest("details:not([open])");
      if (closed) { // it has no width yet
        figure.dataset.drawn = "later";
        closed.addEventListener("toggle", () => drawOrComplain(figure), { once: true });
      } else {
        await drawOrComplain(figure);
      }
    }
  }

  async function drawOrComplain(figure) {
    try {
      await draw(figure);
      figure.dataset.drawn = "yes";
    } catch (error) {
      complain(error, figure);
    }
  }

  async function draw(figure) {
    const spec = JSON.parse(figure.querySelector("script").textContent);
    if (spec.usermeta?.narrow && document.documentElement.clientWidth < 600) Object.assign(spec, spec.usermeta.narrow);
    const limit = Math.max(90, figure.clientWidth * 0.38);
    const own = { ...config, axisX: { ...config.axisX, labelLimit: 90 }, axisY: { ...config.axisY, labelLimit: limit } };
    // ast: expressions are interpreted, not evaluated, which the page's policy forbids.
    const options = { mode: "vega-lite", renderer: "svg", ast: true, actions: false, defaultStyle: false, config: own,
      tooltip: { disableDefaultStyle: true } };
    await window.vegaEmbed(figure.querySelector(".plot"), spec, options);
    figure.querySelector("details")?.removeAttribute("open");
  }

  function complain(error, place) {
    console.error(error);
    const note = document.createElement("p");
    note.className = "bad";
    note.textContent = `Not drawn: ${error.message}. The tables hold the numbers.`;
    place.append(note);
    const figures = place.matches("figure") ? [place] : document.querySelectorAll("figure.chart");
    for (const figure of figures) figure.dataset.drawn = "no";
  }

  function sortTables() {
    const number = (text) => Number.parseFloat(text.replaceAll(",", "").replace("\u2212", "-"));
    for (const table of document.querySelectorAll("table.sortable")) {
      const [body] = table.tBodies;
      [...table.tHead.rows[0].cells].forEach((head, column) => {
        if (head.tagName !== "TH") return;
        const button = document.createElement("button");
        button.type = "button";
        button.append(...head.childNodes);
        head.append(button);
        button.addEventListener("click", () => {
          const down = head.getAttribute("aria-sort") === "ascending";
          for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
          head.setAttribute("aria-sort", down ? "descending" : "ascending");
          const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
          const rows = [...body.rows];
          const filled = rows.filter((row) => value(row) !== "");
          const numeric = filled.every((row) => !Number.isNaN(number(value(row))));
          const compare = numeric ? (a, b) => number(value(a)) - number(value(b)) : (a, b) => value(a).localeCompare(value(b));
          filled.sort(down ? (a, b) => compare(b, a) : compare);
          body.append(...filled, ...rows.filter((row) => value(row) === ""));
        });
      });
    }
  }

  function filterTables() {
    for (const filters of document.querySelectorAll(".filters")) {
      filters.hidden = false;
      const table = document.getElementById(filters.dataset.table);
      const count = filters.querySelector("output");
      const apply = () => {
        const words = (filters.querySelector("input")?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
        const chosen = [...filters.querySelectorAll("select")].filter((each) => each.value !== "");
        let shown = 0;
        for (const row of table.tBodies[0].rows) {
          const text = row.textContent.toLowerCase();
          row.hidden = !words.every((word) => text.includes(word)) ||
            !chosen.every((each) => row.cells[each.dataset.column].textContent.trim() === each.value);
          shown += !row.hidden;
        }
        if (count) count.textContent = `${shown} of ${table.tBodies[0].rows.length}`;
      };
      filters.addEventListener("input", apply);
      apply();
    }
  }

  function offerCopies() {
    for (const button of document.querySelectorAll("button.copy")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        const code = button.parentElement.querySelector("code");
        try {
          await navigator.clipboard.writeText(code.textContent);
        } catch {
          getSelection().selectAllChildren(code);
          document.execCommand("copy");
        }
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
    }
  }

  sortTables();
  filterTables();
  offerCopies();
  drawCharts().catch((error) => complain(error, document.querySelector("header")));
})();
