// What each sub-vector holds and loses after a step, and beside it what is lost in all, step by step, from every start.
import { entry, explorer, frame, make } from "./shared.js";

const round = (number) => Math.round(10 * number) / 10;
const STEP = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2];
const unit = (width) => STEP.find((one) => width / one <= 5);
const ticks = (from, to, step) =>
  Array.from({ length: Math.floor((to - from) / step + 1e-9) + 1 }, (_, i) => Number((from + i * step).toFixed(3)));

export default explorer((figure, data, narrow) => {
  const [width, height] = [narrow ? 300 : 345, 200];
  const [held, lost, lines] = ["turned", "turned", "drift ranks"].map((name) => make("svg", { class: `chart ${name}` }));
  const [starts, steps] = data.controls.map(({ recorded }) => recorded);
  const square = (name) => make("rect", { x: 3, y: 1, width: 12, height: 12, class: name });
  const trail = (name) => make("path", { d: "M1 7h16", class: name });
  figure.append(held, lost, lines, make("div", { class: "legend turned drift" },
    entry("variance", square("held")), entry("lost", square("lost")),
    entry("lost in all, from this start", trail("trail now")), entry("from the others", trail("trail"))));
  const at = (start, step) => data.points[[start, step]];
  const all = Object.values(data.points);
  const scale = (name, label) => { // one for all starts and steps
    const to = 1.05 * Math.max(...all.flatMap((point) => point[name]));
    return { from: 0, to, ticks: ticks(0, to, unit(to)), label };
  };
  const scales = { variance: scale("variance", "share of all variance"), loss: scale("loss", "lost of all variance") };
  const [low, high] = [Math.min, Math.max].map((of) => of(...all.map(({ whole }) => whole)));
  const step = unit(high - low);
  const [from, to] = [Math.floor(low / step) * step, Math.ceil(high / step) * step];

  const bars = (svg, values, y, name) => {
    const x = { from: 0.5, to: values.length + 0.5, ticks: values.map((_, j) => j + 1), label: "sub-vector" };
    const { px, py } = frame(svg, { width, height, x, y });
    const wide = 0.7 * (px(2) - px(1));
    svg.append(...values.map((value, j) => make("rect", {
      x: round(px(j + 1) - wide / 2), y: round(py(value)), width: round(wide), height: round(py(0) - py(value)), class: name,
    })));
  };

  return (point, { start, step: now }) => {
    bars(held, point.variance, scales.variance, "held");
    held.setAttribute("aria-label", `Variance by sub-vector: ${point.holds.join(", ")}`);
    bars(lost, point.loss, scales.loss, "lost");
    lost.setAttribute("aria-label", `Lost by sub-vector: ${point.loses.join(", ")}`);

    const { px, py } = frame(lines, {
      width: narrow ? width : 2 * width + 16, height,
      x: { from: steps[0], to: steps.at(-1), ticks: steps, label: "step" },
      y: { from, to, ticks: ticks(from, to, step), label: "lost in all" },
    });
    for (const one of starts) {
      const places = steps.map((each) => [px(each), py(at(one, each).whole)].map(round).join(","));
      lines.append(make("polyline", { points: places.join(" "), class: one === start ? "trail now" : "trail" }));
    }
    lines.append(make("circle", { cx: round(px(now)), cy: round(py(point.whole)), r: 5, class: "chosen" }));
    const ends = starts.map((one) => `from ${one} ${at(one, steps.at(-1)).lost}`);
    lines.setAttribute("aria-label", `Lost after ${steps.at(-1)} steps: ${ends.join(", ")}`);
  };
});
