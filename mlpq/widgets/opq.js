// What each sub-vector holds and loses after a step, and beside it what is lost in all, step by step, from every start.
import { entry, explorer, frame, make } from "./shared.js";

const round = (number) => Math.round(10 * number) / 10;
const ticks = (from, to, unit) =>
  Array.from({ length: Math.floor((to - from) / unit + 1e-9) + 1 }, (_, i) => Number((from + i * unit).toFixed(2)));

export default explorer((figure, data, narrow) => {
  const [width, height] = [narrow ? 300 : 345, 230];
  const [bars, lines] = [make("svg", { class: "chart turned" }), make("svg", { class: "chart drift" })];
  const [starts, steps] = data.controls.map(({ recorded }) => recorded);
  const square = (name) => make("rect", { x: 3, y: 1, width: 12, height: 12, class: name });
  const trail = (name) => make("path", { d: "M1 7h16", class: name });
  figure.append(bars, lines, make("div", { class: "legend turned drift" },
    entry("variance", square("held")), entry("lost", square("lost")),
    entry("lost, from this start", trail("trail now")), entry("from the others", trail("trail"))));
  const at = (start, step) => data.points[[start, step]];
  const all = Object.values(data.points);
  const top = 1.05 * Math.max(...all.flatMap(({ variance }) => variance));
  const share = { from: 0, to: top, ticks: ticks(0, top, top > 0.4 ? 0.2 : 0.1), label: "share of all variance" };
  const [low, high] = [Math.min, Math.max].map((of) => of(...all.map(({ whole }) => whole)));
  const unit = high - low > 0.04 ? 0.02 : 0.01;
  const [from, to] = [Math.floor(low / unit) * unit, Math.ceil(high / unit) * unit];
  const loss = { from, to, ticks: ticks(from, to, unit), label: "lost in all" };

  return (point, { start, step }) => {
    const { px, py } = frame(bars, {
      width, height, x: { from: 0.5, to: point.variance.length + 0.5, ticks: point.places.map(Number), label: "sub-vector" }, y: share,
    });
    const wide = 0.7 * (px(2) - px(1));
    for (const [name, values] of [["held", point.variance], ["lost", point.loss]]) {
      bars.append(...values.map((value, j) => make("rect", {
        x: round(px(j + 1) - wide / 2), y: round(py(value)), width: round(wide), height: round(py(0) - py(value)), class: name,
      })));
    }
    bars.setAttribute("aria-label", `Variance by sub-vector: ${point.holds.join(", ")}; lost: ${point.loses.join(", ")}`);

    const side = frame(lines, { width, height, x: { from: steps[0], to: steps.at(-1), ticks: steps, label: "step" }, y: loss });
    for (const one of starts) {
      const places = steps.map((each) => [side.px(each), side.py(at(one, each).whole)].map(round).join(","));
      lines.append(make("polyline", { points: places.join(" "), class: one === start ? "trail now" : "trail" }));
    }
    lines.append(make("circle", { cx: round(side.px(step)), cy: round(side.py(point.whole)), r: 5, class: "chosen" }));
    lines.setAttribute("aria-label", `Lost after ${steps.at(-1)} steps: ${starts.map((one) => `from ${one} ${at(one, steps.at(-1)).lost}`).join(", ")}`);
  };
});
