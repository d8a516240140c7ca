// Draws each figure of the page from its JSON; plotly is embedded above. Wide for print, no drag-to-zoom on touch screens.
// A click on a student pins it: a ring in the figure of the front, a column in the table below it. "stillhouse:redraw"
// draws a page whose content was replaced, with the pins and the view that it had.
(() => {
  const MAX_PINS = 6, LETTERS = "ABCDEF";
  const touch = matchMedia("(pointer: coarse)").matches;
  const config = {responsive: true, displaylogo: false, displayModeBar: false};
  const plots = () => [...document.querySelectorAll(".plot")];
  let pins = [], view = null;

  // Plotly marks the chosen button by its fill alone, which the style sheet replaces.
  const markChosen = (div) => {
    const chosen = div._fullLayout.updatemenus?.[0]?.active ?? -1;
    div.querySelectorAll(".updatemenu-button").forEach((b, i) => b.toggleAttribute("data-chosen", i === chosen));
  };
  const element = (name, text = "", kind = "") => Object.assign(document.createElement(name), {textContent: text, className: kind});

  const showPins = (front) => {
    const plot = front.querySelector(".plot"), box = front.querySelector(".pins");
    const {labels, rows, points} = JSON.parse(box.nextElementSibling.textContent);
    pins = pins.filter((trial) => trial in rows);
    const column = plot.layout.meta?.[plot._fullLayout.updatemenus?.[0]?.active ?? 0];
    const ring = plot.data.findIndex((trace) => trace.meta === "pinned");
    const at = (name) => pins.map((trial) => points[trial][name]);
    Plotly.restyle(plot, {x: [at(column)], y: [at("quality")], text: [pins.map((_, i) => LETTERS[i])]}, [ring]);
    const table = element("table", "", "sticky fill"), head = element("tr");
    head.append(element("th"));
    pins.forEach((trial, i) => {
      const cell = element("th", `${LETTERS[i]}: trial ${trial} `), button = element("button", "×");
      button.setAttribute("aria-label", `unpin trial ${trial}`);
      button.addEventListener("click", () => toggle(front, trial));
      cell.append(button);
      head.append(cell);
    });
    table.append(head);
    labels.forEach((label, i) => {
      const values = pins.map((trial) => rows[trial][i]);
      if (!values.some((value) => value !== "")) return;
      const line = element("tr", "", new Set(values).size > 1 ? "differs" : ""), name = element("th", label, "text");
      name.scope = "row";
      line.append(name, ...values.map((value) => element("td", value, "wrap")));
      table.append(line);
    });
    box.querySelector("table").replaceWith(table);
    box.hidden = !pins.length;
  };
  const toggle = (front, trial) => {
    pins = pins.includes(trial) ? pins.filter((pin) => pin !== trial) : [...pins, trial].slice(-MAX_PINS);
    showPins(front);
  };

  // A row of buttons that a narrow screen would cut opens as a list instead.
  const fold = (menu, width) => {
    const needed = menu.buttons.reduce((sum, {label}) => sum + 7.5 * label.length + 22, 0);
    if (needed > width) Object.assign(menu, {type: "dropdown", direction: "down"});
  };

  const draw = async (div) => {
    const {data, layout} = JSON.parse(div.nextElementSibling.textContent);
    if (touch) layout.dragmode = false;
    layout.updatemenus?.forEach((menu) => fold(menu, div.clientWidth - layout.margin.l));
    await Plotly.newPlot(div, data, layout, config);
    markChosen(div);
    div.on("plotly_afterplot", () => markChosen(div));
    const front = div.closest("#front");
    div.on("plotly_buttonclicked", ({active}) => setTimeout(() => {
      markChosen(div);
      if (front) { view = active; showPins(front); }
    }));
    if (!front) return;
    div.on("plotly_click", ({points}) => {
      const trial = points.map((point) => point.customdata).find((value) => value !== undefined);
      if (trial !== undefined) toggle(front, String(trial));
    });
    const args = view && layout.updatemenus?.[0]?.buttons?.[view]?.args;
    if (args) await Plotly.update(div, args[0], {...args[1], "updatemenus[0].active": view});
    showPins(front);
  };
  // Those in view first; the rest when the browser has time, so that a large study opens at once.
  const drawAll = () => {
    const late = new IntersectionObserver((entries) => entries.forEach((entry) => {
      if (!entry.isIntersecting) return;
      late.unobserve(entry.target);
      draw(entry.target);
    }), {rootMargin: "600px"});
    for (const div of plots()) late.observe(div);
  };
  const undrawn = () => plots().filter((div) => !div._fullLayout);
  const resize = (width) => plots().filter((div) => div._fullLayout).forEach((div) => {
    const panel = div.closest(".panels");
    Plotly.relayout(div, width ? {width: panel ? Math.floor(width / 2) - 16 : width} : {width: null, autosize: true});
  });
  addEventListener("beforeprint", () => { undrawn().forEach(draw); resize(680); });
  addEventListener("afterprint", () => resize(null));
  addEventListener("stillhouse:redraw", drawAll);
  drawAll();
})();
