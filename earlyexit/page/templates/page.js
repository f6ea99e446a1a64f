"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const bits = (text, n) => {
    const packed = bytes(text);
    return Uint8Array.from({ length: n }, (_, i) => (packed[i >> 3] >> (7 - (i & 7))) & 1);
  };
  const element = (tag, properties = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in made) made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  };
  const percent = (share, digits = 2) => (100 * share).toFixed(digits);
  const times = (ratio) => `${ratio.toFixed(2)}x`;
  const NEVER = 255;

  const runs = JSON.parse(byId("data").textContent).map((run) => ({
    ...run,
    labels: bits(run.labels, run.n),
    answers: run.answers.map((text) => bits(text, run.n)),
    margins: run.margins.map(bytes),
    thresholds: [],
    patience: 0,
  }));
  const specs = JSON.parse(byId("specs").textContent);
  const several = runs.length > 1;
  let frontier = null;

  /* The 95 % Wilson score interval of `count` among `n`. */
  const wilson = (count, n) => {
    const z = 1.959963984540054;
    const share = count / n;
    const middle = (share + (z * z) / (2 * n)) / (1 + (z * z) / n);
    const half = (z / (1 + (z * z) / n)) * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n));
    return [middle - half, middle + half];
  };

  /* How many images leave at each classifier, and how many of those are right. */
  const decide = (run) => {
    const last = run.names.length - 1;
    const left = new Array(last + 1).fill(0);
    const right = new Array(last + 1).fill(0);
    for (let image = 0; image < run.n; image++) {
      let agreeing = 0;
      for (let exit = 0; exit <= last; exit++) {
        const answer = run.answers[exit][image];
        agreeing = exit > 0 && answer === run.answers[exit - 1][image] ? agreeing + 1 : 1;
        if (exit === last || run.margins[exit][image] > run.thresholds[exit] || agreeing === run.patience) {
          left[exit]++;
          right[exit] += answer === run.labels[image];
          break;
        }
      }
    }
    return { left, right };
  };

  const same = (run, thresholds, patience) =>
    run.patience === patience && run.thresholds.every((threshold, exit) => threshold === thresholds[exit]);

  const results = (run) => {
    const { left, right } = decide(run);
    const correct = right.reduce((a, b) => a + b, 0);
    const shares = left.map((count) => count / run.n);
    const mean = (unit) => shares.reduce((sum, share, exit) => sum + share * run.costs[unit].until[exit], 0);
    const costs = { macs: mean("macs"), measured: mean("measured"), emulated: mean("emulated") };
    const speedup = (unit) => run.costs[unit].baseline / costs[unit];
    const known = run.policies.find((policy) => same(run, policy.thresholds, policy.patience));
    if (known) costs.measured = run.costs.measured.baseline / known.measured;
    return {
      left,
      shares,
      accuracy: correct / run.n,
      interval: wilson(correct, run.n),
      costs,
      speedups: { macs: speedup("macs"), measured: speedup("measured"), emulated: speedup("emulated") },
    };
  };

  const milliseconds = (found, clock) => (found.costs.emulated / clock / 1000).toFixed(1);
  const interval = (found) => found.interval.map((bound) => percent(bound)).join("–");
  const early = (found) => 1 - found.shares[found.shares.length - 1];
  const clockMhz = () => Math.min(Math.max(Number(byId("clock").value) || 1, 1), 1000);

  const lines = (clock) => [
    ["Accuracy on val (%)", "accuracy", (found) => percent(found.accuracy)],
    ["95 % interval", "interval", interval],
    ["Early-exit rate (%)", "early_exit_rate", (found) => percent(early(found))],
    ["Exits (%)", "exit_share", (found) => found.shares.map((share) => percent(share, 1)).join(" / ")],
    ["Multiply-accumulates (millions)", "mean_macs", (found) => (found.costs.macs / 1e6).toFixed(2)],
    ["Speedup, multiply-accumulates", "speedup_macs", (found) => times(found.speedups.macs)],
    ["Measured time (µs)", "time", (found) => found.costs.measured.toFixed(1)],
    ["Speedup, measured", "speedup_measured", (found) => times(found.speedups.measured)],
    ["Estimated Cortex-M4 cycles (millions)", "cycles", (found) => (found.costs.emulated / 1e6).toFixed(2)],
    [`Milliseconds at ${clock} MHz`, "milliseconds", (found) => milliseconds(found, clock)],
    ["Speedup, Cortex-M4 cycles", "speedup_emulated", (found) => times(found.speedups.emulated)],
  ];

  const drawTiles = (found) => {
    const clock = clockMhz();
    const rows = found.map((one, index) => {
      const tiles = [
        ["accuracy", `${percent(one.accuracy)} %`, `${interval(one)} (95\u00a0%)`],
        ["speedup", times(one.speedups.emulated), "in Cortex-M4 cycles"],
        ["per image", `${milliseconds(one, clock)} ms`, `at ${clock} MHz`],
        ["early exits", `${percent(early(one), 1)} %`, `of ${runs[index].n.toLocaleString("en")} images`],
      ];
      const parts = tiles.map(([title, value, note]) =>
        element("div", { className: "tile" }, element("span", {}, title), element("strong", {}, value), element("span", {}, note)));
      return element("div", {}, ...(several ? [element("h4", {}, runs[index].run)] : []), element("div", { className: "tiles" }, ...parts));
    });
    byId("tiles").replaceChildren(...rows);
    byId("status").textContent = found.map((one, index) =>
      `${several ? `${runs[index].run}: ` : ""}${percent(one.accuracy)} % right, ${times(one.speedups.emulated)} the speed, ` +
      `${milliseconds(one, clock)} milliseconds an image, ${percent(early(one), 1)} % leave early.`).join(" ");
  };

  const drawChosen = (found) => {
    const rows = lines(clockMhz()).map(([title, key, text]) =>
      element("tr", {}, element("th", { scope: "row" }, title), ...found.map((one) => element("td", { "data-key": key }, text(one)))),
    );
    const head = element("tr", {}, element("th", { scope: "col" }, "on val"),
      ...runs.map((run) => element("th", { scope: "col" }, run.run || "this run")));
    byId("chosen").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
  };

  const drawShares = (found) => {
    const parts = runs.flatMap((run, index) => [
      ...(several ? [element("h4", {}, run.run)] : []),
      ...run.names.map((name, exit) => {
        const bar = element("span");
        bar.style.width = `${100 * found[index].shares[exit]}%`;
        const number = `${found[index].left[exit].toLocaleString("en")} (${percent(found[index].shares[exit], 1)} %)`;
        return element("div", { className: "share" }, element("span", {}, name),
          element("span", { className: "bar", "aria-hidden": "true" }, bar), element("span", { className: "number" }, number));
      }),
    ]);
    byId("shares").replaceChildren(...parts);
  };

  const drawControls = () => {
    for (const run of runs) {
      run.thresholds.forEach((threshold, exit) => {
        run.sliders[exit].value = threshold;
        run.outputs[exit].value = threshold === NEVER ? "never" : threshold;
        run.sliders[exit].setAttribute("aria-valuetext", run.outputs[exit].value);
      });
      run.select.value = run.patience;
    }
    for (const button of byId("policies").children) {
      const pressed = runs.every((run) => {
        const policy = run.policies.find((one) => one.name === button.textContent);
        return button.textContent === "no early exit" ? same(run, run.thresholds.map(() => NEVER), 0)
          : policy && same(run, policy.thresholds, policy.patience);
      });
      button.setAttribute("aria-pressed", String(Boolean(pressed)));
    }
    const percentile = Number(byId("percentile").value);
    const chosen = runs.every((run) => same(run, run.percentiles[percentile], 0));
    byId("percentile-value").value = chosen ? `p${percentile}` : "–";
    byId("percentile").setAttribute("aria-valuetext", chosen ? `p${percentile}` : "not chosen");
  };

  const update = () => {
    const start = performance.now();
    const found = runs.map(results);
    drawControls();
    drawTiles(found);
    drawChosen(found);
    drawShares(found);
    if (frontier) {
      const here = found.map((one, index) => ({
        run: runs[index].run, accuracy: one.accuracy, speedup_emulated: one.speedups.emulated,
      }));
      frontier.view.data("here", here).runAsync();
    }
    document.body.dataset.updateMs = (performance.now() - start).toFixed(2);
  };

  const choose = (run, thresholds, patience) => {
    run.thresholds = thresholds.slice();
    run.patience = patience;
  };
  const choosePercentile = () => {
    const percentile = Number(byId("percentile").value);
    for (const run of runs) choose(run, run.percentiles[percentile], 0);
    update();
  };
  const choosePolicy = (name) => {
    for (const run of runs) {
      const policy = run.policies.find((one) => one.name === name);
      if (policy) choose(run, policy.thresholds, policy.patience);
      if (name === "no early exit") choose(run, run.percentiles[0].map(() => NEVER), 0);
    }
    const percentile = /^p(\d+)$/.exec(name);
    if (percentile) byId("percentile").value = percentile[1];
    update();
  };

  const makeControls = () => {
    const names = [...new Set(runs.flatMap((run) => run.policies.map((policy) => policy.name)))];
    for (const name of [...names, "no early exit"]) {
      byId("policies").append(element("button", { type: "button", onclick: () => choosePolicy(name) }, name));
    }
    runs.forEach((run, index) => {
      run.sliders = [];
      run.outputs = [];
      const controls = run.names.slice(0, -1).map((name, exit) => {
        const id = `threshold-${index}-${exit}`;
        const slider = element("input", { type: "range", id, min: 0, max: NEVER, step: 1 });
        const output = element("output", { htmlFor: id });
        slider.addEventListener("input", () => {
          run.thresholds[exit] = Number(slider.value);
          update();
        });
        run.sliders.push(slider);
        run.outputs.push(output);
        const title = `Threshold of ${name}${several ? `, ${run.run}` : ""}`;
        return element("p", { className: "control" }, element("label", { htmlFor: id }, title), slider, output);
      });
      const id = `patience-${index}`;
      const counts = [0, ...run.names.map((_, exit) => exit + 1).filter((count) => count > 1)];
      run.select = element("select", { id }, ...counts.map((count) => element("option", { value: count }, count ? `${count} agree` : "off")));
      run.select.addEventListener("change", () => {
        run.patience = Number(run.select.value);
        update();
      });
      const title = `Patience: classifiers in a row${several ? `, ${run.run}` : ""}`;
      controls.push(element("p", { className: "control" }, element("label", { htmlFor: id }, title), run.select));
      byId("thresholds").append(element("div", { className: "run-controls" }, ...controls));
    });
    byId("clock").value = runs[0].clock_mhz;
    byId("clock").addEventListener("input", update);
    byId("percentile").addEventListener("input", choosePercentile);
  };

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const look = () => {
    const text = dark.matches ? "#e6edf3" : "#1b1f24";
    const line = dark.matches ? "#30363d" : "#d0d7de";
    const words = { labelColor: text, titleColor: text };
    return {
      background: "transparent",
      font: "system-ui, sans-serif",
      axis: { ...words, gridColor: line, domainColor: line, tickColor: line, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" },
      legend: { ...words, symbolBaseFillColor: text, symbolBaseStrokeColor: text, orient: "bottom", labelFontSize: 12, titleFontSize: 12, columns: innerWidth < 600 ? 1 : 6, labelLimit: 240 },
      view: { stroke: "transparent" },
    };
  };
  const made = {};
  const drawCharts = async () => {
    frontier = null;
    for (const [name, spec] of Object.entries(specs)) {
      made[name]?.finalize();
      made[name] = await vegaEmbed(`#chart-${name}`, spec, { actions: false, renderer: "svg", config: look() });
    }
    frontier = made.frontier;
    update();
    document.body.dataset.ready = "true";
  };

  makeControls();
  choosePolicy(runs[0].built_in);
  dark.addEventListener("change", drawCharts);
  drawCharts();
})();
