// Loss against bytes at the chosen N, and bytes for the chosen one's loss against N: where the curves cross.
import { entry, explorer, frame, make } from "./shared.js";

// Of each owner: colour, dashes, and the mark of a recorded setting.
const LOOK = {
  inner: ["c3", "none", (x, y) => `M${x} ${y - 4}l4 7h-8z`],
  outer: ["c2", "6 3", (x, y) => `M${x - 3} ${y - 3}h6v6h-6z`],
  global: ["c0", "2 3", (x, y) => `M${x} ${y - 4}l4 4-4 4-4-4z`],
};
const OWNERS = Object.keys(LOOK);
const SIZES = [10, 30, 100, 300, 1000, 3000];

// Lines and marks of an owner; places are [x, y], or null where a line breaks. Its name stands over the first.
const curve = (owner, places, width) => {
  const [colour, dashes, mark] = LOOK[owner];
  const there = places.filter(Boolean);
  const line = places.map((at, i) => at && `${places[i - 1] ? "L" : "M"}${at.join(" ")}`);
  const [x, y] = there[0] ?? [0, 0];
  const name = { x: x + 5, y: y - 6, "text-anchor": x > width - 36 ? "end" : "start", class: "name" };
  return [
    make("path", { d: line.filter(Boolean).join(""), class: `curve ${colour}`, "stroke-dasharray": dashes }),
    make("path", { d: there.map((at) => mark(...at)).join(""), class: `mark ${colour}` }),
    make("text", there.length ? name : {}, there.length ? owner : ""),
  ];
};

const legend = () =>
  make("div", { class: "legend owners" },
    entry("chosen", make("circle", { cx: 9, cy: 7, r: 5.5, class: "here" })),
    entry("less lost in no more bytes", make("path", { d: "M1 1L12 8m-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0", class: "rival" })),
    entry("down to the loss on vectors trained on", make("path", { d: "M9 0V12m-4 0h8", class: "known" })),
  );

export default explorer((figure, data, narrow) => {
  const [width, height] = [narrow ? 300 : 345, 270];
  const [loss, size] = [make("svg", { class: "chart owners" }), make("svg", { class: "chart owners" })];
  figure.append(loss, size, legend());
  const [, lengths, bits, bases] = data.controls.map(({ recorded }) => recorded);
  const each = (point, N) => point.bytes / N;
  const row = (owner, nbits, N) => lengths.map((m) => data.points[[owner, m, nbits, N]]).filter(Boolean);
  const all = (nbits) => OWNERS.flatMap((owner) => bases.flatMap((N) => row(owner, nbits, N).map((point) => each(point, N))));
  const largest = Object.fromEntries(bits.map((nbits) => [nbits, 2 * Math.max(...all(nbits))]));
  const losses = (nbits, N) => OWNERS.flatMap((owner) => row(owner, nbits, N).map((point) => point.loss));
  const path = (places) => `M${places.map((at) => at.join(" ")).join("L")}`;
  const near = (number) => Math.round(10 * number) / 10;

  return (point, { owner, m, nbits, N }, words) => {
    const to = Math.max(largest[nbits] ?? 0, 2 * each(point, N));
    const sizes = { from: 10, to, ticks: SIZES.filter((tick) => tick < to), log: true, label: "bytes per vector" };
    const most = 1.1 * Math.max(point.loss, ...losses(nbits, N));
    const ticks = (most > 0.2 ? [0, 0.1, 0.2, 0.3] : [0, 0.05, 0.1, 0.15]).filter((tick) => tick < most);
    const { px, py } = frame(loss, {
      width, height, x: sizes, y: { from: 0, to: most, ticks, label: "variance lost, unseen vectors" },
    });
    const place = (one) => [px(each(one, N)), py(one.loss)].map(near);
    const [x, y] = place(point);
    const best = data.points[point.best];
    const [whose, length, depth] = (point.best ?? "").split(",");
    const named = (at) => make("text", { x: at[0] - 10, y: at[1] + 16, "text-anchor": "end", class: "name" },
      `${whose}, m=${length}, ${depth} bits`);
    loss.append(
      make("rect", { x: px(10), y, width: x - px(10), height: py(0) - y, class: "shade" }),
      ...OWNERS.flatMap((name) => curve(name, row(name, nbits, N).map(place), width)),
      make("path", { d: `M${x} ${y}V${near(py(point.base))}m-4 0h8`, class: "known" }),
      make("path", { d: best ? `${path([[x, y], place(best)])}m-7 0a7 7 0 1 0 14 0a7 7 0 1 0-14 0` : "", class: "rival" }),
      ...(best ? [named(place(best))] : []),
      make("circle", { cx: x, cy: y, r: 5.5, class: "here" }),
    );
    loss.setAttribute("aria-label", `Loss against bytes per vector at ${words.N} vectors, ${nbits} bits, a line per owner; ` +
      `chosen: ${owner}, m = ${m}, ${point.lost} at ${point.each} bytes. ${point.rival}`);

    const place2 = frame(size, {
      width, height, y: { ...sizes, label: "bytes per vector for the same loss" },
      x: { from: bases[0], to: bases.at(-1), ticks: bases, log: true, label: "vectors N", format: (n) => `${n / 1000}k` },
    });
    const at = (needed) => (needed ?? []).map((value, i) => value && [place2.px(bases[i]), place2.py(value)].map(near));
    const now = near(place2.px(N));
    size.append(
      make("path", { d: `M${now} ${place2.py(10)}V${place2.py(to)}`, class: "grid" }),
      ...OWNERS.flatMap((name) => curve(name, at(point.needs[name]), width)),
      make("circle", { cx: now, cy: near(place2.py(each(point, N))), r: 5.5, class: "here" }),
    );
    size.setAttribute("aria-label", `Bytes per vector for a loss of ${point.lost}, by N, a line per owner. ${point.cheapest}`);
  };
});
