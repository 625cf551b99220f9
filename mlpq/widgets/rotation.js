// What lies in each sub-vector and what is lost there; beside it, the recall on all axes at the same m.
import { entry, explorer, frame, make } from "./shared.js";

const ticks = (to) => {
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5].find((one) => to / one <= 5);
  return Array.from({ length: Math.floor(to / step + 1e-9) + 1 }, (_, i) => Math.round(100 * i * step) / 100);
};
const round = (number) => Math.round(10 * number) / 10;

const bars = (svg, lists, { width, height, to, label }) => {
  const m = lists[0].values.length;
  const { px, py } = frame(svg, {
    width, height, y: { from: 0, to, ticks: ticks(to), label },
    x: { from: 0.5, to: m + 0.5, ticks: [1, m / 4, m / 2, (3 * m) / 4, m].map(Math.round), label: "sub-vector" },
  });
  const wide = 0.7 * (px(2) - px(1));
  const rects = ({ values, name }) => values.map((value, j) => make("rect", {
    x: round(px(j + 1) - wide / 2), y: round(py(value)), width: round(wide), height: round(py(0) - py(value)), class: name,
  }));
  svg.append(...lists.flatMap(rects));
};

export default explorer((figure, data, narrow) => {
  const [width, height] = [narrow ? 300 : 345, 220];
  const svgs = ["chart turned", "chart turned", "chart turned ranks"].map((name) => make("svg", { class: name }));
  const [held, lost, ranks] = svgs;
  const square = (name) => make("rect", { x: 3, y: 1, width: 12, height: 12, class: name });
  const legend = make("div", { class: "legend turned" },
    entry("variance", square("held")), entry("lost", square("lost")), entry("recall on the axes chosen", square("chosen")));
  figure.append(...svgs, legend);
  const kinds = data.controls[0].recorded;
  const most = (m, point) =>
    Math.max(...kinds.flatMap((kind) => data.points[[kind, m]]?.loss ?? []), ...point.loss); // one scale for all axes

  return (point, { axes, m }) => {
    bars(held, [{ values: point.variance, name: "held" }, { values: point.loss, name: "lost" }],
      { width, height, to: 1.1 * Math.max(...point.variance), label: "share of all variance" });
    held.setAttribute("aria-label", `Variance by sub-vector, ${axes}: ${point.holds.join(", ")}`);
    bars(lost, [{ values: point.loss, name: "lost" }], { width, height, to: 1.1 * most(m, point), label: "lost, one scale for all axes" });
    lost.setAttribute("aria-label", `Loss by sub-vector, ${axes}: ${point.loses.join(", ")}`);

    const all = kinds.map((kind) => [kind, kind === axes ? point : data.points[[kind, m]]]).filter(([, one]) => one);
    const [left, row, top] = [100, 24, 20];
    const whole = narrow ? width : 2 * width + 16; // it has a line of its own
    const long = whole - left - 44;
    ranks.setAttribute("viewBox", `0 0 ${whole} ${top + row * kinds.length}`);
    ranks.setAttribute("role", "img");
    ranks.setAttribute("aria-label", `Recall at 10: ${all.map(([kind, one]) => `${kind} ${one.recall}`).join(", ")}`);
    ranks.replaceChildren(
      make("text", { x: 4, y: 12 }, `recall@10, m = ${m}`),
      ...all.flatMap(([kind, one], i) => {
        const y = top + row * i;
        return [
          make("text", { x: left - 6, y: y + 15, "text-anchor": "end", class: kind === axes ? "now" : "" }, kind),
          make("rect", { x: left, y: y + 4, width: round(long * one.found), height: 15, class: kind === axes ? "chosen" : "other" }),
          make("text", { x: round(left + long * one.found + 6), y: y + 15, class: kind === axes ? "now" : "" }, one.recall),
        ];
      }),
    );
  };
});
