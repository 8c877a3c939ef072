"use strict";
(function () {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // The page's own colours, which follow the system's choice of light or dark.
  function colours() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    const axis = (part) => ({
      [part + ".gridcolor"]: of("--grid"),
      [part + ".zerolinecolor"]: of("--line"),
      [part + ".linecolor"]: of("--line"),
    });
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      "font.color": of("--ink"),
      "font.family": getComputedStyle(document.body).fontFamily,
      "font.size": 12,
      "hoverlabel.bgcolor": of("--card"),
      "hoverlabel.bordercolor": of("--line"),
      "hoverlabel.font.color": of("--ink"),
      ...axis("xaxis"),
      ...axis("yaxis"),
    };
  }

  // The same as part of a layout that is not drawn yet.
  function themed(layout) {
    for (const [path, value] of Object.entries(colours())) {
      const steps = path.split(".");
      const last = steps.pop();
      const part = steps.reduce((within, step) => (within[step] ??= {}), layout);
      part[last] = value;
    }
    return layout;
  }

  const drawn = Object.entries(figures).map(([name, figure]) => {
    const place = document.getElementById(name);
    const options = { responsive: true, displayModeBar: false };
    return Plotly.newPlot(place, figure.data, themed(figure.layout), options);
  });
  dark.addEventListener("change", () => {
    Object.keys(figures).forEach((name) => Plotly.relayout(name, colours()));
  });
  Promise.all(drawn).then(() => document.documentElement.setAttribute("data-drawn", ""));
})();
