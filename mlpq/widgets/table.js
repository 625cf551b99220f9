// One row per place: its codewords from near to far, the entry selected among them, and its value; then the sum.
import { bytes, explorer, grey, make } from "./shared.js";

const WIDTH = 256; // codewords of a place
const HEAD = ["place", "codewords, from near to far", "entry"];

const picture = (words) => {
  const canvas = make("canvas", { width: 28, height: 28, role: "img", "aria-label": words });
  return { canvas, node: make("div", {}, canvas, make("span", {}, words)) };
};

export default explorer((figure, { shared }, narrow) => {
  figure.classList.add("sums");
  figure.classList.toggle("narrow", narrow);
  const pictures = ["query", "base vector", "reconstruction"].map(picture);
  const row = (name, middle, kind = "") => {
    const number = make("span", { class: `number ${kind}` });
    return { number, middle, nodes: [make("span", {}, name), middle, number] };
  };
  const rows = Array.from({ length: 8 }, (_, place) => {
    const [canvas, mark] = [make("canvas", { width: WIDTH, height: 1 }), make("i")];
    return { canvas, mark, ...row(String(place), make("div", { class: "strip" }, canvas, mark)) };
  });
  const parts = rows.map(() => make("i"));
  const sum = row("sum", make("div", { class: "bar" }, ...parts), "total");
  const whole = make("i");
  const exact = row("exact", make("div", { class: "bar whole" }, whole));
  const sheet = make(
    "div",
    { class: "sheet", role: "img" },
    ...HEAD.map((words) => make("span", { class: "head" }, words)),
    ...[...rows, sum, exact].flatMap(({ nodes }) => nodes),
  );
  figure.append(make("div", { class: "pictures" }, ...pictures.map(({ node }) => node)), sheet);

  let drawn = null; // the query whose table stands there
  return (point, { query, item }) => {
    const { image, table } = point.asked ?? shared.asked[query];
    [image, point.image, point.restored].forEach((pixels, i) =>
      grey(pictures[i].canvas, bytes(pixels).map((value) => 255 - value)), // dark on white, as in the chapters
    );
    if (query !== drawn) {
      const values = bytes(table);
      rows.forEach(({ canvas }, j) => grey(canvas, values.subarray(j * WIDTH, (j + 1) * WIDTH)));
      drawn = query;
    }
    const longest = Math.max(point.length, point.terms.reduce((a, b) => a + b));
    const share = (value) => `${((100 * value) / longest).toFixed(2)}%`;
    rows.forEach(({ mark, number }, j) => {
      mark.style.left = `${((Number(point.nearer[j]) + 0.5) / WIDTH) * 100}%`;
      number.textContent = point.entries[j];
      parts[j].style.width = share(point.terms[j]);
    });
    whole.style.width = share(point.length);
    sum.number.textContent = point.sum;
    exact.number.textContent = point.exact;
    sheet.setAttribute("aria-label", `Distance table; selected for rank ${item}: ${point.entries.join(" + ")}`);
  };
});
