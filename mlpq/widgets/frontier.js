// Two charts with recall as their common height: against speed, and against bytes per vector.
// Shaded is where a setting would have to lie in both to beat the chosen one.
import { asPython } from "./copy.js";
import { entry, explorer, frame, make } from "./shared.js";

// Of the families in data.shared.peers: whose it is, which gives the colour; shape; dashes.
const diamond = (x, y) => `M${x} ${y - 6}l5 6-5 6-5-6z`;
const square = (x, y) => `M${x - 3.5} ${y - 3.5}h7v7h-7z`;
const up = (x, y) => `M${x} ${y - 4.5}l4.5 8h-9z`;
const down = (x, y) => `M${x} ${y + 4.5}l4.5-8h-9z`;
const COLORS = { ours: "c2", Faiss: "c3", others: "c4" };
const PEERS = {
  "k-means only": ["ours", square, "none"],
  "mlpq, 4 bits, reranked": ["ours", up, "5 3"],
  "exact search": ["Faiss", diamond, "none"],
  "Faiss IVF-Flat": ["Faiss", down, "none"],
  "Faiss IVF-PQ, 8 bits": ["Faiss", up, "5 3"],
  "Faiss fast-scan, refined": ["Faiss", square, "1.5 3"],
  graphs: ["others", diamond, "none"],
  ScaNN: ["others", square, "5 3"],
};

// 1, 2, 5, 10, ... within the range
const ticks = ([from, to]) =>
  [10, 100, 1e3, 1e4, 1e5, 1e6].flatMap((ten) => [ten, 2 * ten, 5 * ten]).filter((tick) => tick >= from && tick <= to);
const short = (tick) => (tick < 1000 ? String(tick) : `${tick / 1000}k`);

const move = (circle, [cx, cy]) => {
  circle.setAttribute("cx", cx);
  circle.setAttribute("cy", cy);
};

const chart = (svg, data, of, front, label, more, width) => {
  const settings = Object.values(data.points);
  const peers = Object.entries(data.shared.peers);
  const all = [...settings, ...peers.flatMap(([, indexes]) => indexes.flat())].map(of);
  const range = [Math.min(...all) / 1.15, Math.max(...all) * 1.15];
  const shade = make("rect", { class: "shade" });
  const same = make("polyline", { class: "trail" });
  const ring = make("circle", { r: 8, class: "ring" });
  const here = make("circle", { r: 5.5 });
  let place;
  let corners;

  const build = () => {
    const height = 270;
    const { px, py } = frame(svg, {
      width, height,
      x: { from: range[0], to: range[1], ticks: ticks(range), label, log: true, format: short },
      y: { from: 0, to: 1.04, ticks: [0, 0.2, 0.4, 0.6, 0.8, 1], label: `recall@${data.k}` },
    });
    place = (row) => [px(of(row)), py(row.recall)].map((number) => Math.round(10 * number) / 10);
    corners = { left: px(range[0]), right: px(range[1]), top: py(1.04) };
    const line = (rows) => `M${rows.map((row) => place(row).join(" ")).join("L")}`;
    svg.append(
      shade,
      make("path", { d: settings.map((row) => `M${place(row).join(" ")}h0`).join(""), class: "dots c0" }),
      make("path", { d: line(front.map((name) => data.points[name])), class: "line" }),
      ...peers.flatMap(([name, indexes]) => {
        const [owner, mark, dashes] = PEERS[name];
        return [
          make("path", { d: indexes.map(line).join(""), class: `peers ${COLORS[owner]}`, "stroke-dasharray": dashes }),
          make("path", { d: indexes.flat().map((row) => mark(...place(row))).join(""), class: `peer ${COLORS[owner]}` }),
        ];
      }),
      same, ring, here,
    );
  };
  build();

  return (point, others, better) => {
    const value = of(point);
    if (value < range[0] || value > range[1]) {
      range[0] = Math.min(range[0], value / 1.15);
      range[1] = Math.max(range[1], value * 1.15);
      build();
    }
    const [x, y] = place(point);
    const [from, to] = more ? [x, corners.right] : [corners.left, x];
    const box = { x: from, y: corners.top, width: to - from, height: y - corners.top };
    for (const [name, number] of Object.entries(box)) shade.setAttribute(name, number);
    same.setAttribute("points", others.map((row) => place(row).join(",")).join(" "));
    ring.setAttribute("visibility", better ? "visible" : "hidden");
    if (better) move(ring, place(better));
    move(here, [x, y]);
    here.setAttribute("class", settings.includes(point) ? "here" : "here fresh");
  };
};

const peer = (name) => {
  const [owner, mark, dashes] = PEERS[name];
  const line = make("path", { d: "M0 7h18", class: `peers ${COLORS[owner]}`, "stroke-dasharray": dashes });
  return entry(name, line, make("path", { d: mark(9, 7), class: `peer ${COLORS[owner]}` }));
};

const legend = (data) => {
  const names = Object.keys(PEERS).filter((name) => name in data.shared.peers);
  const of = (owner) => names.filter((name) => PEERS[name][0] === owner).map(peer);
  return [
    make("div", { class: "legend" },
      entry("chosen", make("circle", { cx: 9, cy: 7, r: 5.5, class: "here" })),
      entry("another, better in all three", make("circle", { cx: 9, cy: 7, r: 6, class: "ring" })),
      entry("better on both axes", make("path", { d: "M1 1h16v12h-16z", class: "shade" })),
      entry("chosen, other nprobe", make("path", { d: "M1 7h16", class: "trail" })),
      entry("all settings", make("path", { d: "M4 9h0m5-5h0m5 6h0", class: "dots c0" })),
      entry("Pareto front", make("path", { d: "M1 7h16", class: "line" })),
    ),
    ...Object.keys(COLORS).map(of).filter((entries) => entries.length)
      .map((entries) => make("div", { class: "legend" }, ...entries)),
  ];
};

export default explorer((figure, data, narrow) => {
  const width = narrow ? 300 : 320;
  const [speed, size] = [make("svg", { class: "chart" }), make("svg", { class: "chart" })];
  figure.append(speed, size, make("div", { class: "legends" }, ...legend(data)));
  const [byspeed, bysize] = data.shared.fronts;
  const each = (row) => row.bytes / data.n;
  const draws = [
    chart(speed, data, (row) => row.qps, byspeed, "queries per second", true, width),
    chart(size, data, each, bysize, "bytes per vector", false, width),
  ];
  return (point, { m, nbits }) => {
    const others = data.controls[2].recorded.map((nprobe) => data.points[[m, nbits, nprobe]]).filter(Boolean);
    draws.forEach((draw) => draw(point, others, data.points[point.better]));
    speed.setAttribute("aria-label", `Recall against speed: ${point.found} at ${point.speed} queries per second. ${point.verdict}`);
    size.setAttribute("aria-label", `Recall against bytes: ${point.found} for ${point.each} bytes per vector. ${point.verdict}`);
  };
}, undefined, asPython);
