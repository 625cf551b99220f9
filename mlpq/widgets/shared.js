// What all explorers share: the control row, the sentence, the table, and asking the kernel for what is not recorded.
// An explorer calls `explorer(build)`: build(figure, data, narrow) returns draw(point, values, words). One that needs no
// recorded points gives `compute` as well: compute(values, data) returns a point, or { error: "what is wrong" }; one whose
// settings can be built gives `python`: python(values, data) returns the lines. A draw that keeps something running has a
// function `stop`, called when its figure goes.
import { COPY, copier } from "./copy.js";

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = new Set("svg g path circle rect line text title polyline".split(" "));

// make("p", { class: "say" }, "text", child): an element, in SVG's namespace where it is one of its shapes.
export const make = (tag, attributes = {}, ...children) => {
  const node = SHAPES.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};

export const bytes = (base64) => {
  const letters = atob(base64);
  const values = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) values[i] = letters.charCodeAt(i); // `from` takes a second for a sample of the Lab
  return values;
};

// Draw grey values, 0 black to 255 white, one per pixel of the canvas.
export const grey = (canvas, values) => {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const { data } = image;
  for (let i = 0, at = 0; i < values.length; i++, at += 4) {
    data[at] = data[at + 1] = data[at + 2] = values[i];
    data[at + 3] = 255;
  }
  context.putImageData(image, 0, 0);
};

// An entry of a legend: marks in a box of 18 by 14, and words.
export const entry = (words, ...marks) =>
  make("span", {}, make("svg", { width: 18, height: 14, "aria-hidden": "true" }, ...marks), words);

// The frame of a chart in an <svg>: axes, ticks, labels. Returns the functions that place a value.
// x and y: { from, to, ticks, label, log, format }; ticks are values. The y label stands above its axis.
export const frame = (svg, { width, height, x, y }) => {
  const [left, top, bottom] = [46, 22, height - 34];
  const place = ({ from, to, log }, start, end) => {
    const way = (value) => (log ? Math.log(value) : value);
    return (value) => start + ((way(value) - way(from)) / (way(to) - way(from))) * (end - start);
  };
  const [px, py] = [place(x, left, width - 12), place(y, bottom, top)];
  const text = (at, anchor, words) => make("text", { ...at, "text-anchor": anchor }, words);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  svg.replaceChildren(
    make("path", { d: `M${left} ${top}V${bottom}H${width - 12}`, class: "axis" }),
    ...y.ticks.flatMap((tick) => [
      make("path", { d: `M${left} ${py(tick)}H${width - 12}`, class: "grid" }),
      text({ x: left - 6, y: py(tick) + 4 }, "end", (y.format ?? String)(tick)),
    ]),
    ...x.ticks.map((tick) => text({ x: px(tick), y: bottom + 16 }, "middle", (x.format ?? String)(tick))),
    text({ x: 4, y: 12 }, "start", y.label),
    text({ x: width - 12, y: height - 4 }, "end", x.label),
  );
  return { px, py };
};

// Ten lines of a mark, a note and a text, on one line each. Returns show(list of { right, note, text }).
const lines = (heading) => {
  const rows = Array.from({ length: 10 }, () => make("li"));
  const node = make("div", { class: "answers" }, make("p", {}, heading), make("ol", {}, ...rows));
  const show = (list) => rows.forEach((row, i) => {
    const { right, note, text } = list[i];
    const mark = make("span", { class: right ? "right" : "wrong" }, `${right ? "✓" : "✗"} ${note}`);
    row.replaceChildren(mark, make("span", { title: text }, text));
  });
  return { node, show };
};

// The figure of a search among texts: its answers beside the true ten.
export const inWords = (figure, data, narrow) => {
  const answers = lines("Answers, with their true places");
  const trues = lines("The true ten, with their ranks by code");
  figure.append(make("div", { class: narrow ? "texts narrow" : "texts" }, answers.node, trues.node));

  return (point) => {
    const texts = point.texts ?? data.shared.texts; // a kernel sends its own
    answers.show(point.answers.map((id, i) => ({
      right: Number(point.marks[i]) <= 10, note: point.marks[i], text: texts[id] ?? "",
    })));
    trues.show(point.true.map((id, i) => ({
      right: point.fates[i].startsWith("found"), note: point.fates[i], text: texts[id],
    })));
  };
};

const key = (values) => Object.values(values).join(",");
const fill = (text, from) => text.replace(/\{(\w+)\}/g, (_, name) => from[name]);

// A row per entry of the lists among the cells; what is no list stands in every row.
const rows = (columns, from) => {
  const cells = Object.keys(columns).map((name) => from[name]);
  const length = Math.max(1, ...cells.filter(Array.isArray).map((cell) => cell.length));
  return Array.from({ length }, (_, i) => cells.map((cell) => (Array.isArray(cell) ? cell[i] : cell)));
};

// A button that takes a slider through its values, one each 0.7 s, from the start if it stands at the end.
const player = (input) => {
  const button = make("button", { type: "button", class: "play" }, "Play");
  let timer;
  const stop = () => {
    clearInterval(timer);
    timer = undefined;
    button.textContent = "Play";
  };
  const step = (to) => {
    input.value = to;
    input.dispatchEvent(new Event("input"));
    if (input.value === input.max) stop();
  };
  button.addEventListener("click", () => {
    if (timer) return stop();
    button.textContent = "Stop";
    timer = setInterval(() => step(Number(input.value) + 1), 700);
    step(input.value === input.max ? 0 : Number(input.value) + 1);
  });
  return { button, stop };
};

// One control: a slider over the indices of its values, or a choice among words. read() and write() take the value.
const control = ({ name, label, recorded, possible, words, play }, live, changed) => {
  const values = live && possible.length ? possible : recorded;
  const word = (value) => String(words?.[value] ?? value);
  const choice = typeof values[0] === "string";
  const shown = make("span", { class: "value", "aria-hidden": "true" }); // read aloud as the slider's own value
  const input = choice
    ? make("select", {}, ...values.map((value) => make("option", { value }, word(value))))
    : make("input", { type: "range", min: 0, max: values.length - 1, step: 1 });
  input.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab takes the arrow keys otherwise
  input.setAttribute("data-control", name);
  const read = () => values[choice ? input.selectedIndex : Number(input.value)];
  const tell = () => {
    if (choice) return;
    shown.textContent = word(read());
    input.setAttribute("aria-valuetext", word(read()));
  };
  const write = (value) => {
    const index = Math.max(0, values.indexOf(value));
    choice ? (input.selectedIndex = index) : (input.value = index);
    tell();
  };
  input.addEventListener("input", () => (tell(), changed(name, read())));
  const node = make("label", {}, make("span", {}, label), input, ...(choice ? [] : [shown]));
  if (!play) return { nodes: [node], read, write, word, stop: () => {} };
  const { button, stop } = player(input);
  return { nodes: [node, button], read, write, word, stop };
};

// A choice among the data sets, where there are several; `choose` is told which.
const switcher = (sets, chosen, choose) => {
  const options = Object.entries(sets).map(([value, { kind }]) => make("option", { value }, kind));
  const input = make("select", { "data-control": "vectors" }, ...options);
  input.value = chosen;
  input.addEventListener("input", () => choose(input.value));
  return options.length > 1 ? [make("label", {}, make("span", {}, "vectors"), input)] : [];
};

// Where a data set lacks a value: the nearest that is recorded.
const nearest = (value, { recorded }) => {
  if (recorded.includes(value)) return value;
  if (typeof value === "string") return recorded[0];
  return recorded.reduce((best, one) => (Math.abs(one - value) < Math.abs(best - value) ? one : best));
};

// Shows the data set that is chosen; returns what ends it.
const show = ({ build, compute, python }, { model, el }, choose) => {
  const sets = model.get("sets");
  const vectors = model.get("vectors");
  const data = sets[vectors];
  const live = typeof model.send === "function";
  const points = new Map(Object.entries(data.points));
  const failures = new Map();
  let asked = null; // the one point that the kernel is computing
  let draw = null;
  let narrow = null;

  const values = () => Object.fromEntries(data.controls.map(({ name }) => [name, model.get(name)]));
  const change = (name, value) => {
    failures.clear(); // what failed once may work later
    model.set(name, value);
    model.save_changes();
  };
  const controls = data.controls.map((one) => control(one, live, change));
  const figure = make("div", { class: "figure" });
  const say = make("p", { class: "say", "aria-live": "polite" });
  const head = make("tr", {}, ...Object.values(data.columns).map((name) => make("th", { scope: "col" }, name)));
  const body = make("tbody");
  const table = make("table", {}, make("thead", {}, head), body);
  const before = el.querySelector(":scope > [aria-expanded]")?.getAttribute("aria-expanded"); // with another data set
  const button = make("button", { type: "button", "aria-expanded": before ?? "false" }, "Show as a table");
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
  });

  const copy = python && copier(() => python(values(), data));

  const ask = (wanted) => {
    if (asked !== null) return; // its answer asks again, for where the controls are then
    asked = key(wanted);
    model.send({ ask: wanted, vectors });
  };
  const update = () => {
    const now = values();
    const point = compute ? compute(now, data) : points.get(key(now));
    const failure = point?.error ?? failures.get(key(now));
    controls.forEach((one, i) => one.write(now[data.controls[i].name]));
    if (copy) copy.textContent = COPY;
    el.setAttribute("aria-busy", String(live && !point && !failure));
    el.classList.toggle("stale", !point || Boolean(failure)); // the figure still shows another setting
    if (!point || failure) {
      say.textContent = failure ?? (live ? "Computing …" : "Not recorded: a kernel is needed to compute it.");
      body.replaceChildren();
      if (live && !failure) ask(now);
      return;
    }
    const words = Object.fromEntries(controls.map((one, i) => [data.controls[i].name, one.word(one.read())]));
    draw(point, now, words);
    const texts = point.texts ?? data.shared.texts ?? {}; // of what stands in the cells by a short name
    say.textContent = fill(data.say, { ...point, ...words });
    body.replaceChildren(
      ...rows(data.columns, { ...point, ...words }).map((cells) =>
        make("tr", {}, ...cells.map((cell) => make("td", {}, texts[cell] ?? String(cell)))),
      ),
    );
  };
  const rebuild = () => {
    narrow = el.clientWidth < 480;
    draw?.stop?.();
    figure.replaceChildren();
    draw = build(figure, data, narrow);
    update();
  };

  el.classList.add("mlpq-explorer");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", data.title);
  el.replaceChildren(
    make("p", { class: "title" }, data.title),
    make("div", { class: "controls" }, ...switcher(sets, vectors, choose), ...controls.flatMap((one) => one.nodes)),
    figure, say, button,
    make("div", { class: "table", role: "region", "aria-label": "Table", tabindex: 0 }, table), // it may scroll sideways
    ...(copy ? [make("div", { class: "copied" }, copy)] : []),
    make("p", { class: "about" }, data.caption),
  );
  const answered = ({ vectors: of, key: name, point, error }) => {
    if (of !== vectors) return; // asked before another data set was chosen
    if (point) points.set(name, point);
    if (error) failures.set(name, error);
    if (name === asked) asked = null;
    update();
  };
  rebuild();
  const watcher = new ResizeObserver(() => el.clientWidth < 480 !== narrow && rebuild());
  watcher.observe(el);
  data.controls.forEach(({ name }) => model.on(`change:${name}`, update));
  model.on("msg:custom", answered);
  return () => {
    watcher.disconnect();
    draw.stop?.();
    controls.forEach((one) => one.stop());
    data.controls.forEach(({ name }) => model.off(`change:${name}`, update));
    model.off("msg:custom", answered);
  };
};

export const explorer = (build, compute, python) => ({
  render({ model, el }) {
    let stop;
    const choose = (name) => {
      stop(); // or values would change under a data set that lacks them
      for (const one of model.get("sets")[name].controls) model.set(one.name, nearest(model.get(one.name), one));
      model.set("vectors", name);
      model.save_changes();
      el.querySelector("[data-control=vectors]").focus();
    };
    const again = () => {
      stop?.();
      stop = show({ build, compute, python }, { model, el }, choose);
    };
    again();
    model.on("change:vectors", again);
    return () => {
      stop();
      model.off("change:vectors", again);
    };
  },
});
