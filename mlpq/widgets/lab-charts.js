// The four figures of the Lab: cells, codes, what is lost, and originals read. Each is drawn anew when more is known.
import { entry, frame, make } from "./shared.js";

const COLORS = ["c0", "c1", "c2", "c3", "c4", "c5"];
const DASHES = ["none", "5 3", "1.5 3", "8 2 2 2", "12 3"];

// Lines over a logarithmic x: series are { name, points: [[x, y], ...], color, dash }. Its words stand for it where it is not seen.
const plotted = (svg, label, series, words, narrow, marks = [1, 2, 5, 10, 20, 50, 100, 200, 500]) => {
  const xs = series.flatMap(({ points }) => points.map(([x]) => x));
  const [from, to] = [Math.min(...xs), Math.max(...xs)];
  const ticks = marks.filter((tick) => tick >= from && tick <= to);
  const { px, py } = frame(svg, {
    width: narrow ? 300 : 340, height: 220,
    x: { from: from / 1.1, to: to * 1.1, ticks, label, log: true },
    y: { from: 0, to: 1.02, ticks: [0, 0.2, 0.4, 0.6, 0.8, 1], label: "of the true ten" },
  });
  svg.setAttribute("aria-label", words);
  svg.append(...series.flatMap(({ points, color, dash }) => {
    const places = points.map(([x, y]) => `${px(x).toFixed(1)} ${py(y).toFixed(1)}`);
    return [
      make("path", { d: `M${places.join("L")}`, class: `dash ${COLORS[color]}`, "stroke-dasharray": DASHES[dash] }),
      make("path", { d: places.map((place) => `M${place}h0`).join(""), class: `dots ${COLORS[color]}` }),
    ];
  }));
};

const legend = (series) => make("div", { class: "legend" }, ...series.map(({ name, color, dash }) =>
  entry(name, make("path", { d: "M0 7h18", class: `dash ${COLORS[color]}`, "stroke-dasharray": DASHES[dash] }))));

const panel = (title, ...inside) => make("figure", {}, make("figcaption", {}, title), ...inside);
const two = (x) => x.toFixed(2);

const chart = (title, label, series, narrow, marks) => {
  const svg = make("svg", {});
  const words = series.map(({ name, points }) => `${name}: ${points.map(([x, y]) => `${x}: ${two(y)}`).join(", ")}`).join("; ");
  plotted(svg, label, series, `${title} ${words}`, narrow, marks);
  return panel(title, svg, series.length > 1 ? legend(series) : "");
};

// How many cells must be visited.
export const cells = ({ nprobes, inside, cells: all }, narrow) =>
  chart(`True neighbours in the cells visited, of ${all}`, "nprobe", [{ name: "in sight", points: nprobes.map((nprobe, p) => [nprobe, inside[p]]), color: 0, dash: 0 }], narrow);

// What codes of some bytes find, at one nprobe.
export const byBytes = ({ nprobes }, codes, p, narrow) => {
  const of = (bits, r) => codes.filter(({ nbits }) => nbits === bits).map(({ size, found }) => [size, found[p][r][0]]);
  const five = codes[0].reranks.indexOf(5);
  const series = [
    { name: "8 bits, codes alone", points: of(8, 0), color: 0, dash: 0 },
    { name: "4 bits, codes alone", points: of(4, 0), color: 1, dash: 0 },
    { name: "8 bits, 50 originals read", points: of(8, five), color: 0, dash: 1 },
    { name: "4 bits, 50 originals read", points: of(4, five), color: 1, dash: 1 },
  ].filter(({ points }) => points.length);
  return chart(`Recall@10 against bytes of a code, nprobe ${nprobes[p]}`, "bytes", series, narrow, [...new Set(codes.map(({ size }) => size))]);
};

// What more originals bring back.
export const originals = (codes, p, narrow) => {
  const series = codes.filter(({ nbits }) => nbits === 8).map(({ size, found, reranks }, i) => (
    { name: `${size} bytes`, points: reranks.map((r, at) => [10 * r, found[p][at][0]]), color: i, dash: i }));
  return chart("Recall@10 against originals read (10: codes alone)", "candidates", series, narrow);
};

// Where the true neighbours stay: found, displaced by codes, out of sight.
export const losses = ({ nprobes, inside }, codes, p) => {
  const rows = codes.filter(({ nbits }) => nbits === 8).map(({ size, found }) => {
    const parts = [found[p][0][0], inside[p] - found[p][0][0], 1 - inside[p]].map((part) => Math.max(0, part));
    const words = `${size} bytes: ${two(parts[0])} found, ${two(parts[1])} lost by the code, ${two(parts[2])} by the cells`;
    const bar = make("span", { class: "bar", role: "img", "aria-label": words }, ...parts.map((part, i) => make("i", { class: ["found", "code", "cells"][i], style: `width: ${100 * part}%` })));
    return make("div", { class: "row" }, make("span", {}, `${size} bytes`), bar, make("span", {}, `${two(parts[0])} + ${two(parts[1])} + ${two(parts[2])}`));
  });
  const key = ["found", "code", "cells"].map((kind, i) => make("span", {}, make("i", { class: kind }), ["found", "lost: displaced by codes", "lost: in cells not visited"][i]));
  return panel(`What is lost, by codes alone, nprobe ${nprobes[p]}`, make("div", { class: "losses" }, ...rows), make("div", { class: "legend" }, ...key));
};
