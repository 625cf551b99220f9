import { bytes, explorer, grey, make } from "./shared.js";

// Original with its cuts, reconstruction, signed error; below them the code: each codeword above the number that names it.

const SIDE = 28;
const FULL = 128; // the error drawn in full colour
const [LOW, HIGH] = [[0, 114, 178], [213, 94, 0]]; // the reconstruction is too low, or too high

// The error on white, as the images.
const signed = (canvas, errors) => {
  const context = canvas.getContext("2d");
  const image = context.createImageData(SIDE, SIDE);
  errors.forEach((error, i) => {
    const share = Math.min(1, Math.abs(error) / FULL);
    const colour = (error < 0 ? LOW : HIGH).map((value) => 255 + share * (value - 255));
    image.data.set([...colour, 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
};

// Pixels start to stop, in the rows and columns that they have in the image.
const piece = (canvas, values, start, stop) => {
  const first = canvas.height === 1 ? start : start - (start % SIDE);
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let i = start; i < stop; i++) image.data.set([values[i], values[i], values[i], 255], 4 * (i - first));
  context.putImageData(image, 0, 0);
};

export default explorer((figure, data, narrow) => {
  const panel = (name) => {
    const canvas = make("canvas", { width: SIDE, height: SIDE, role: "img" });
    const [caption, more] = [make("div"), make("div")];
    const node = make("figure", { class: name }, make("div", {}, canvas), make("figcaption", {}, caption, more));
    return { node, canvas, caption, more };
  };
  const [original, rebuilt, error] = ["original", "rebuilt", "error"].map(panel);
  const cuts = make("path", { class: "cuts" });
  original.canvas.after(make("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, "aria-hidden": "true" }, cuts));
  error.more.append("too low", make("span"), "too high");
  error.more.classList.add("scale");
  const code = make("div", { class: "chips", role: "img" });
  const heading = make("p");
  figure.append(make("div", { class: "panels" }, original.node, rebuilt.node, error.node), heading, code);
  figure.classList.add("codec");
  figure.classList.toggle("narrow", narrow);
  let chips = [];

  // One chip per place; its pixels keep their row, so that a piece that ends within a row shows where.
  const cut = (m) => {
    const size = (SIDE * SIDE) / m;
    const row = (pixel) => Math.floor(pixel / SIDE);
    const starts = Array.from({ length: m }, (_, j) => j * size);
    const height = Math.max(...starts.map((start) => row(start + size - 1) - row(start) + 1));
    code.style.setProperty("--columns", Math.min(m, 7 * Math.min(4, Math.max(1, Math.floor(SIDE / size)))));
    code.style.setProperty("--chip", `${Math.max(22, 3 * Math.min(SIDE, size))}px`); // where these are too many
    cuts.style.opacity = Math.max(0.3, Math.min(1, 14 / m)); // dense lines would hide the image
    cuts.setAttribute("d", starts.slice(1).map((p) => `M${SIDE} ${row(p)}H${p % SIDE}` + (p % SIDE ? "v1H0" : "")).join(""));
    chips = starts.map((start) => ({
      start, stop: start + size, number: make("span"),
      canvas: make("canvas", { width: height === 1 ? size : SIDE, height }),
    }));
    code.replaceChildren(...chips.map(({ canvas, number }) => make("div", {}, canvas, number)));
  };

  return (point, { image, m }, words) => {
    const before = bytes(point.original ?? data.shared.images[image]);
    const after = bytes(point.rebuilt);
    if (chips.length !== m) cut(m);
    const dark = after.map((value) => 255 - value); // 0 is white, as in the chapters
    grey(original.canvas, before.map((value) => 255 - value));
    grey(rebuilt.canvas, dark);
    signed(error.canvas, Array.from(after, (value, i) => value - before[i]));
    const numbers = point.code.split(" ");
    chips.forEach(({ canvas, number, start, stop }, j) => {
      piece(canvas, dark, start, stop);
      number.textContent = numbers[j];
    });
    original.caption.textContent = `original: ${data.shared.raw}`;
    original.more.textContent = m === 1 ? "in one piece" : `cut into ${m} pieces`;
    rebuilt.caption.textContent = `rebuilt: ${point.size}`;
    rebuilt.more.textContent = `${point.smaller} times smaller`;
    error.caption.textContent = `error: ${point.lost} lost`;
    heading.textContent = m === 1
      ? "The code: 1 number, below the codeword that it names"
      : `The code: ${m} numbers, each below the codeword that it names`;
    original.canvas.setAttribute("aria-label", `${words.image}, cut into ${m} pieces`);
    rebuilt.canvas.setAttribute("aria-label", `${words.image}, rebuilt from ${point.size}`);
    error.canvas.setAttribute("aria-label", `Where the reconstruction is too low or too high: ${point.lost} lost`);
    code.setAttribute("aria-label", `The code: ${point.code}`);
  };
});
