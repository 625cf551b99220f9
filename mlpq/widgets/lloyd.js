import { explorer, frame, make } from "./shared.js";

const SIZE = 320;

export default explorer((figure, data, narrow) => {
  const dots = data.shared.dots;
  const xs = dots.filter((_, i) => i % 2 === 0);
  const ys = dots.filter((_, i) => i % 2 === 1);
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = (SIZE - 16) / Math.max(right - left, high - low);
  const x = (value) => 8 + (value - left) * scale;
  const y = (value) => 8 + (high - value) * scale;
  const height = 16 + (high - low) * scale;

  const map = make("svg", { viewBox: `0 0 ${SIZE} ${height}`, role: "img", class: "map" });
  const chart = make("svg", { class: "side" });
  figure.append(map, chart);
  figure.classList.toggle("narrow", narrow);

  // The nearest centroid of each dot; the first of equals, as in NumPy's argmin.
  const nearest = (px, py, at) => {
    let best = 0;
    let least = Infinity;
    for (let j = 0; j < at.length; j++) {
      const far = (px - at[j][0]) ** 2 + (py - at[j][1]) ** 2;
      if (far < least) [best, least] = [j, far];
    }
    return best;
  };

  return (point, { k, iteration }) => {
    const at = point.paths.map((path) => path.slice(-2));
    const clusters = at.map(() => []);
    xs.forEach((px, i) => clusters[nearest(px, ys[i], at)].push(`M${x(px).toFixed(1)} ${y(ys[i]).toFixed(1)}h0`));
    map.setAttribute("aria-label", `${dots.length / 2} dots in ${k} clusters, with the paths of the centroids`);
    map.replaceChildren(
      ...clusters.map((d, j) => make("path", { d: d.join(""), class: `dots c${j % 6}` })),
      ...point.paths.map((path) => {
        const corners = path.map((value, i) => (i % 2 ? y(value) : x(value)).toFixed(1)).join(" ");
        return make("polyline", { points: corners, class: "trail" });
      }),
      ...at.map(([cx, cy]) => make("path", { d: `M${x(cx) - 4} ${y(cy) - 4}l8 8m0-8l-8 8`, class: "cross" })),
    );

    const inertia = point.inertias.map(Number);
    const last = Math.max(12, iteration);
    const { px, py } = frame(chart, {
      width: 220, height: 170,
      x: { from: 0, to: last, ticks: [0, last / 2, last], label: "iteration" },
      y: { from: 0, to: 1, ticks: [0, 0.5, 1], label: "inertia" },
    });
    chart.setAttribute("aria-label", `Inertia by iteration, from 1 to ${point.inertia}`);
    chart.append(
      make("polyline", { points: inertia.map((value, i) => `${px(i)},${py(value)}`).join(" "), class: "line" }),
      make("circle", { cx: px(iteration), cy: py(inertia.at(-1)), r: 4, class: "here" }),
    );
  };
});
