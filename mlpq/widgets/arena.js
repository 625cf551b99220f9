// Recall of every codec against bytes per vector, at the chosen r; and against what a query reads, at the chosen bytes.
import { loaded } from "./copy.js";
import { entry, explorer, frame, make } from "./shared.js";

const KINDS = { "codebooks or turn": "learned", "mean or range": "plain" };
const SIZES = [24, 32, 48, 64, 96, 128, 192];
const STEPS = [10, 20, 50, 100, 200, 500, 1000, 2000]; // between ticks
const square = ([x, y]) => `M${x - 3.5} ${y - 3.5}h7v7h-7z`;
const diamond = ([x, y]) => `M${x} ${y - 5}l4.5 5-4.5 5-4.5-5z`;
const MARKS = { learned: square, plain: diamond };

// The codec that found most.
const python = ({ budget, reads }, { dataset, points }) => `${loaded(dataset)}from mlpq.bench.cases import contest
from mlpq.bench.codecs import CELLS

case = next(c for c in contest(ds.d) if (c.codec, c.size) == ("${points[[budget, reads]].codecs[0]}", ${budget}))
n_inner, n_outer, nprobe = CELLS[ds.name]
how = {"codec": case.make and case.make(), "pca_dim": case.dim, "metric": ds.metric, "keep_originals": True}
index = mlpq.MultiLevelPQ(ds.d, n_inner, n_outer, **how | case.ours)
index.train(ds.xb[:25_600]).add(ds.xb)
D, I = index.search(ds.xq, 10, nprobe=nprobe, rerank=${reads})
print(mlpq.recall_at_k(I, ds.gt, 10), case.size)
`;

export default explorer((figure, data, narrow) => {
  const [width, height] = [narrow ? 300 : 345, 300];
  const [size, read] = [make("svg", { class: "chart arena" }), make("svg", { class: "chart arena" })];
  const [budgets, rs] = data.controls.map(({ recorded }) => recorded);
  const mark = (kind) => make("path", { d: MARKS[kind]([9, 7]), class: kind });
  figure.append(size, read, make("div", { class: "legend arena" },
    entry("learns codebooks, or a turn", mark("learned")), entry("learns the mean or the range", mark("plain")),
    entry("the best of each", make("path", { d: "M1 7h16", class: "trail" }))));
  const at = (budget, reads) => data.points[[budget, reads]];
  const near = (number) => Math.round(10 * number) / 10;
  const best = (point, kind) => point.learns?.findIndex((what) => KINDS[what] === kind) ?? -1;
  const line = (places) => make("polyline", { points: places.map((one) => one.join(",")).join(" "), class: "trail" });
  const lowest = Math.min(...Object.values(data.points).flatMap((point) => point.recalls ?? []));
  const y = { from: Math.floor(10 * lowest) / 10, to: 1.02, ticks: [0.2, 0.4, 0.6, 0.8, 1], label: `recall@10` };
  y.ticks = y.ticks.filter((tick) => tick >= y.from);

  const crowd = (svg, point, place, chosen) => {
    for (const kind of Object.keys(MARKS)) {
      const those = point.recalls.flatMap((_, i) => (KINDS[point.learns[i]] === kind ? [MARKS[kind](place(point, i))] : []));
      svg.append(make("path", { d: those.join(""), class: chosen ? kind : `${kind} faint` }));
    }
  };
  const name = (svg, point, place, kind, below) => {
    const i = best(point, kind);
    if (i < 0) return;
    const [x, top] = place(point, i);
    const side = x > width / 2 ? ["end", -8] : ["start", 8];
    svg.append(make("text", { x: x + side[1], y: top + (below ? 14 : -7), "text-anchor": side[0], class: "name" }, point.codecs[i]));
  };

  return (point, { budget, reads }, words) => {
    const first = frame(size, { width, height, y, x: { from: 18, to: 220, ticks: SIZES, log: true, label: "bytes per vector" } });
    const bySize = (one, i) => [near(first.px(Number(one.bytes[i]))), near(first.py(one.recalls[i]))];
    const columns = budgets.map((other) => at(other, reads)).filter((one) => one.recalls);
    for (const one of columns) crowd(size, one, bySize, one === point);
    for (const kind of Object.keys(MARKS)) {
      size.append(line(columns.filter((one) => best(one, kind) >= 0).map((one) => bySize(one, best(one, kind)))));
      name(size, point, bySize, kind, point.recalls[best(point, kind)] < point.recalls[0]);
    }
    size.setAttribute("aria-label", `Recall of all codecs against bytes per vector, reranked: ${words.reads}. ${point.said}`);

    const along = rs.map((r) => at(budget, r));
    const all = along.flatMap((one) => one.kb);
    const [from, to] = [0.95 * Math.min(...all), 1.03 * Math.max(...all)];
    const step = STEPS.find((one) => (to - from) / one <= 5) ?? 5000;
    const ticks = Array.from({ length: 6 }, (_, i) => (Math.ceil(from / step) + i) * step).filter((tick) => tick < to);
    const second = frame(read, { width, height, y, x: { from, to, ticks, label: "kB read per query" } });
    const byRead = (one, i) => [near(second.px(one.kb[i])), near(second.py(one.recalls[i]))];
    for (const one of along) crowd(read, one, byRead, one === point);
    for (const kind of Object.keys(MARKS)) {
      const codec = point.codecs[best(point, kind)];
      read.append(line(along.map((one) => byRead(one, one.codecs.indexOf(codec)))));
      name(read, point, byRead, kind, point.recalls[best(point, kind)] < point.recalls[0]);
    }
    read.setAttribute("aria-label", `Recall against kilobytes that a query reads, at ${budget} bytes per vector. ${point.said}`);
  };
}, undefined, python);
