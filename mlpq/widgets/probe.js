// The map around the query; the whole map with its outer clusters; neighbours found by clusters opened.
import { loaded } from "./copy.js";
import { bytes, entry, explorer, frame, make } from "./shared.js";

const [WIDTH, HEIGHT] = [340, 290];
const SCALE = 5; // units of the map per unit of the drawing

const pairs = (list) => list.flatMap((_, i) => (i % 2 ? [] : [[list[i] / SCALE, -list[i + 1] / SCALE]]));
const plus = ([x, y], r) => `M${x - r} ${y}h${2 * r}m${-r} ${-r}v${2 * r}`;
const cross = ([x, y], r) => `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`;
const ring = ([x, y], r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;
const star = (r) => {
  const corners = Array.from({ length: 10 }, (_, i) => {
    const [far, turn] = [i % 2 ? 0.42 * r : r, (i * Math.PI) / 5];
    return `${(far * Math.sin(turn)).toFixed(1)} ${(-far * Math.cos(turn)).toFixed(1)}`;
  });
  return `M${corners.join("L")}Z`;
};

const WORDS = { visited: "cell visited", opened: "cell opened", closed: "cell not opened" };
const swatch = (state) =>
  make("g", { class: state, style: "color: var(--c2)" }, make("path", { d: "M-7-5h14v10h-14Z", class: "tile" }));
const named = (mark, words) => entry(words, make("g", { transform: "translate(9 7)" }, mark)); // marks are drawn around 0

const python = ({ query, nprobe, n_outer_probe }, { dataset }) => `${loaded(dataset)}import numpy as np

x = ds.xb[:3000]
mean = x.mean(axis=0)
axes = np.linalg.svd(x - mean, full_matrices=False)[2][:2].T  # the plane of the map
km = mlpq.TwoLevelKMeans(2, n_inner=60, n_outer=6).train((x - mean) @ axes)
at = (ds.xq[${query}:${query + 1}] - mean) @ axes
print(km.probe(at, nprobe=${nprobe}, n_outer_probe=${n_outer_probe}))
`;

export default explorer((figure, { shared }, narrow) => {
  const dots = pairs(shared.dots);
  const home = bytes(shared.cells); // the cell of each dot
  const owner = shared.inner_to_outer;
  const inner = pairs(shared.inner.flat());
  const outer = pairs(shared.outer.flat());
  const members = inner.map(() => []);
  home.forEach((cell, i) => members[cell].push(`M${dots[i].map((value) => value.toFixed(1)).join(" ")}h0`));
  const lines = shared.borders.map((ends) => `M${pairs(ends).join("L")}`).join("");

  // A group per cell, in the colour of its outer cluster; what the query does with the cell is the group's class.
  const cells = (full) =>
    inner.map((at, j) =>
      make(
        "g",
        { style: `color: var(--c${owner[j] % 6})` },
        make("path", { d: `M${pairs(shared.tiles[j]).join("L")}Z`, class: "tile" }),
        make("path", { d: full ? members[j].join("") : "", class: "dots" }),
        make("path", { d: full ? plus(at, 4.5) : "", class: "centre" }),
      ),
    );
  const border = (width) => make("path", { d: lines, class: "border", "stroke-width": width });

  const [rings, crosses] = ["found", "missed"].map((name) => make("path", { class: name }));
  const near = cells(true);
  const ground = make("g", {}, ...near, border(3), rings, crosses);
  const here = make("path", { d: star(9), class: "star", transform: `translate(${WIDTH / 2} ${HEIGHT / 2})` });
  const map = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "map ground" }, ground, here);

  const xs = dots.map(([x]) => x);
  const ys = dots.map(([, y]) => y);
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const size = [Math.max(...xs) - left, Math.max(...ys) - top];
  const far = cells(false);
  const hubs = outer.map((at) => make("path", { d: ring(at, 20), class: "hub" }));
  const view = make("rect", { width: WIDTH, height: HEIGHT, class: "view" });
  const spot = make("path", { d: star(50), class: "star" });
  const whole = make(
    "svg",
    { viewBox: [left, top, ...size].join(" "), role: "img", class: "ground whole" },
    ...far, border(9), ...hubs, view, spot,
  );
  const chart = make("svg");
  figure.classList.add("probe");
  figure.classList.toggle("narrow", narrow);
  figure.append(
    map,
    make("div", { class: "side" }, whole, chart),
    make(
      "p",
      { class: "legend" },
      named(make("path", { d: star(8), class: "star" }), "query"),
      named(make("path", { d: ring([0, 0], 4.5), class: "found" }), "neighbour found"),
      named(make("path", { d: cross([0, 0], 4), class: "missed" }), "neighbour missed"),
      named(make("path", { d: plus([0, 0], 5), class: "centre" }), "centroid of a cell"),
      named(make("path", { d: "M-8 0h16", class: "border", "stroke-width": 3 }), "outer border"),
      named(make("path", { d: ring([0, 0], 5), class: "hub opened", style: "stroke-width: 0" }), "outer centroid, opened"),
      ...["visited", "opened", "closed"].map((state) => named(swatch(state), WORDS[state])),
    ),
  );

  return (point, { nprobe, n_outer_probe }) => {
    const [at] = pairs(point.at);
    const state = (j) => (point.cells.includes(j) ? "visited" : point.opened.includes(owner[j]) ? "opened" : "closed");
    for (const groups of [near, far]) groups.forEach((group, j) => group.setAttribute("class", state(j)));
    hubs.forEach((hub, o) => hub.classList.toggle("opened", point.opened.includes(o)));
    const [x, y] = [at[0] - WIDTH / 2, at[1] - HEIGHT / 2];
    ground.setAttribute("transform", `translate(${-x} ${-y})`);
    view.setAttribute("x", x);
    view.setAttribute("y", y);
    spot.setAttribute("transform", `translate(${at.join(" ")})`);

    const ids = [...new Uint16Array(bytes(point.near).buffer)];
    const found = ids.filter((id) => state(home[id]) === "visited");
    const missed = ids.filter((id) => state(home[id]) !== "visited");
    rings.setAttribute("d", found.map((id) => ring(dots[id], 4.5)).join(""));
    crosses.setAttribute("d", missed.map((id) => cross(dots[id], 4)).join(""));
    map.setAttribute("aria-label", `Around the query: ${found.length} neighbours found, ${missed.length} missed`);
    whole.setAttribute("aria-label", `The whole map, ${point.opened.length} of ${outer.length} outer clusters opened`);

    const counts = point.finds.map(Number);
    const { px, py } = frame(chart, {
      width: narrow ? 260 : 220, height: 150,
      x: { from: 1, to: counts.length, ticks: counts.map((_, i) => i + 1), label: "n_outer_probe" },
      y: { from: 0, to: ids.length, ticks: [0, ids.length / 2, ids.length], label: `found with nprobe ${nprobe}` },
    });
    chart.setAttribute("aria-label", `Neighbours found by outer clusters opened: ${point.finds.join(", ")}`);
    chart.append(
      make("polyline", { points: counts.map((count, i) => `${px(i + 1)},${py(count)}`).join(" "), class: "line" }),
      make("circle", { cx: px(n_outer_probe), cy: py(counts[n_outer_probe - 1]), r: 4.5, class: "here" }),
    );
  };
}, undefined, python);
