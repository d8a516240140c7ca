// Draws each figure of the page from its JSON; plotly is embedded above. Wide for print, no drag-to-zoom on touch screens.
(() => {
  const touch = matchMedia("(pointer: coarse)").matches;
  const config = {responsive: true, displaylogo: false, displayModeBar: false};
  const plots = [...document.querySelectorAll(".plot")];
  // Plotly marks the chosen button by its fill alone, which the style sheet replaces.
  const markChosen = (div) => {
    const chosen = div._fullLayout.updatemenus?.[0]?.active ?? -1;
    div.querySelectorAll(".updatemenu-button").forEach((b, i) => b.toggleAttribute("data-chosen", i === chosen));
  };
  for (const div of plots) {
    const {data, layout} = JSON.parse(div.nextElementSibling.textContent);
    if (touch) layout.dragmode = false;
    Plotly.newPlot(div, data, layout, config).then(() => {
      markChosen(div);
      div.on("plotly_afterplot", () => markChosen(div));
      div.on("plotly_buttonclicked", () => setTimeout(() => markChosen(div)));
    });
  }
  const resize = (width) => plots.forEach((div) => {
    const panel = div.closest(".panels");
    Plotly.relayout(div, width ? {width: panel ? Math.floor(width / 2) - 16 : width} : {width: null, autosize: true});
  });
  addEventListener("beforeprint", () => resize(680));
  addEventListener("afterprint", () => resize(null));
})();
