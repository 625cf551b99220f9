// A search as one draws: strokes become an image of 28 by 28, turned to the axes of the codes, compared with all codes in the
// nearest cells; the ten that are found are decoded and drawn. The page holds no image.
import { bytes, explorer, grey, make } from "./shared.js";
import { decode, quantizer, search, turn, turnBack } from "./engine.js";

const [SIDE, FINE, K] = [28, 112, 10]; // FINE: pixels of the sheet, either way
const [BRUSH, INK, MARK] = [7, 170, 0.25]; // radius on the sheet; the grey of what is drawn; what counts as drawn
const sheet = new Float32Array(FINE * FINE); // what is drawn, from 0 to 1
let picked = null; // the example that is shown, or -1: the sheet

// The numbers behind the bytes that the page holds: those of a column lie between the same two bounds.
const unpacked = ({ ranges, ...shared }) => {
  const numbers = (name) => {
    const [low, step] = ranges[name];
    return Float32Array.from(bytes(shared[name]), (value, i) => low[i % low.length] + step[i % low.length] * value);
  };
  const [centroids, columns, codes] = [numbers("centroids"), numbers("books"), bytes(shared.codes)];
  const d = ranges.books[0].length;
  const ksub = columns.length / d;
  const starts = Int32Array.of(0, ...shared.sizes);
  for (let c = 1; c < starts.length; c++) starts[c] += starts[c - 1];
  const m = codes.length / starts.at(-1);
  const books = new Float32Array(columns.length);
  columns.forEach((value, at) => {
    const [c, j] = [Math.floor(at / d), at % d];
    books[((Math.floor((j * m) / d) * ksub + c) * d) / m + (j % (d / m))] = value;
  });
  const axes = { mean: Float32Array.from(bytes(shared.mean)), axes: Float64Array.from(numbers("axes")) };
  const index = { pq: quantizer(d, m, Math.log2(ksub), books), centroids, residual: true, starts, ids: null, codes };
  const cellOf = new Uint16Array(starts.at(-1));
  shared.sizes.forEach((_, c) => cellOf.fill(c, starts[c], starts[c + 1]));
  return { index, axes, cellOf, labels: bytes(shared.labels), classes: shared.classes };
};

// The images that the first m sub-codes of some codes stand for, with the centroids of their cells for the rest: 0 white, 255 black.
const images = ({ index: { pq, centroids }, axes }, cells, codes, m) => {
  const y = decode(pq, codes);
  cells.forEach((cell, i) => {
    y.fill(0, i * pq.d + m * pq.dsub, (i + 1) * pq.d);
    for (let j = 0; j < pq.d; j++) y[i * pq.d + j] += centroids[cell * pq.d + j];
  });
  const x = turnBack(y, axes);
  for (let at = 0; at < x.length; at++) x[at] = Math.min(255, Math.max(0, x[at]));
  return cells.map((_, i) => x.subarray(i * SIDE * SIDE, (i + 1) * SIDE * SIDE));
};

// A soft round dab on the sheet.
const dab = (x, y) => {
  for (let row = Math.max(0, Math.ceil(y - BRUSH)); row <= Math.min(FINE - 1, y + BRUSH); row++) {
    for (let column = Math.max(0, Math.ceil(x - BRUSH)); column <= Math.min(FINE - 1, x + BRUSH); column++) {
      const away = Math.hypot(column - x, row - y) / BRUSH;
      const ink = Math.min(1, 2.5 * (1 - away));
      if (ink > sheet[row * FINE + column]) sheet[row * FINE + column] = ink;
    }
  }
};
const stroke = (from, to) => {
  const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / 2));
  for (let i = 1; i <= steps; i++) dab(...from.map((value, axis) => value + ((to[axis] - value) * i) / steps));
};

// Where the sheet is drawn on: [left, right, top, bottom]; null where it is not.
const box = () => {
  let [left, right, top, bottom] = [FINE, -1, FINE, -1];
  for (let y = 0, at = 0; y < FINE; y++) {
    for (let x = 0; x < FINE; x++, at++) {
      if (sheet[at] <= MARK) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      bottom = y;
    }
  }
  return right < 0 ? null : [left, right, top, bottom];
};

// What is drawn as the images are: cut to its box, scaled until its longer side is 28, centred; null where nothing is drawn.
const centred = () => {
  const edges = box();
  if (!edges) return null;
  const [left, right, top, bottom] = edges;
  const scale = Math.max(right - left + 1, bottom - top + 1) / SIDE; // pixels of the sheet for one of the image
  const places = (start, end) => Int32Array.from({ length: 4 * SIDE }, (_, i) => {
    const at = Math.floor((start + end + 1) / 2 + (i / 4 + 1 / 8 - SIDE / 2) * scale);
    return at < FINE ? at : -1;
  });
  const [columns, rows, small] = [places(left, right), places(top, bottom), new Float32Array(SIDE * SIDE)];
  for (let row = 0; row < 4 * SIDE; row++) { // 4 by 4 samples for each pixel
    for (let column = 0; column < 4 * SIDE; column++) {
      const [x, y] = [columns[column], rows[row]];
      if (x >= 0 && y >= 0) small[(row >> 2) * SIDE + (column >> 2)] += sheet[y * FINE + x] / 16;
    }
  }
  return small;
};

// Clothes are no outlines: what is enclosed by ink is filled. Paper is what can be reached from the edge.
const filled = (small) => {
  const wide = SIDE + 2;
  const paper = new Uint8Array(wide * wide);
  const open = [0];
  while (open.length) {
    const at = open.pop();
    const [x, y] = [at % wide, Math.floor(at / wide)];
    const inside = x > 0 && x <= SIDE && y > 0 && y <= SIDE;
    if (paper[at] || (inside && small[(y - 1) * SIDE + x - 1] > MARK)) continue;
    paper[at] = 1;
    if (x > 0) open.push(at - 1);
    if (x < wide - 1) open.push(at + 1);
    if (y > 0) open.push(at - wide);
    if (y < wide - 1) open.push(at + wide);
  }
  return small.map((ink, at) => INK * (paper[(Math.floor(at / SIDE) + 1) * wide + (at % SIDE) + 1] ? ink : 1));
};

const dark = (values, ink = 1) => {
  const pixels = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) pixels[i] = 255 - Math.round(ink * values[i]);
  return pixels;
};
const small = (attributes) => make("canvas", { width: SIDE, height: SIDE, ...attributes });

// Strokes with a mouse, a pen or a finger: begin() before the first dab, changed() after each.
const drawn = (canvas, begin, changed) => {
  let last = null;
  const place = ({ clientX, clientY }) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return [((clientX - left) / width) * FINE - 0.5, ((clientY - top) / height) * FINE - 0.5];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button || !event.isPrimary) return; // a second finger draws nothing
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    begin();
    last = place(event);
    stroke(last, last);
    changed();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last || !event.isPrimary) return;
    for (const one of event.getCoalescedEvents?.() ?? [event]) {
      const next = place(one);
      stroke(last, next);
      last = next;
    }
    changed();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { last = null; });
};

export default explorer((figure, data, narrow) => {
  const held = unpacked(data.shared);
  const { index, axes, cellOf, labels, classes } = held;
  const { cells, codes } = data.shared.examples;
  const examples = images(held, cells, bytes(codes), index.pq.m);

  picked ??= data.first;
  const paper = make("canvas", { width: FINE, height: FINE, class: "paper", role: "img" });
  const hint = make("p", { class: "hint", "aria-hidden": "true" }, "Draw here");
  const clear = make("button", { type: "button", class: "clear" }, "Clear");
  const buttons = classes.map((name, i) => {
    const canvas = small({ "aria-hidden": "true" });
    grey(canvas, dark(examples[i]));
    const button = make("button", { type: "button", "aria-label": name, title: name }, canvas);
    button.addEventListener("click", () => (sheet.fill(0), (picked = i), answer()));
    return button;
  });
  const results = Array.from({ length: K }, () => ({ canvas: small({ "aria-hidden": "true" }), name: make("span") }));
  const tray = make("div", { class: "found", role: "img" }, ...results.map(({ canvas, name }) => make("div", {}, canvas, name)));
  const status = make("p", { class: "status", "aria-live": "polite" });
  figure.classList.add("welcome");
  figure.classList.toggle("narrow", narrow);
  figure.append(
    make("div", { class: "sheet" }, paper, hint),
    make("div", { class: "examples", role: "group", "aria-label": "Examples to search for" }, ...buttons, clear),
    tray, status,
  );
  let now = null; // the setting
  let waiting = 0; // for a frame

  const query = () => {
    if (picked >= 0) return examples[picked];
    const shape = centred();
    return shape && filled(shape);
  };
  const show = (found) => {
    const { m } = index.pq;
    const code = new Uint8Array(found.ids.length * m);
    found.ids.forEach((place, i) => code.set(index.codes.subarray(place * m, (place + 1) * m), i * m));
    const pictures = images(held, found.ids.map((place) => cellOf[place]), code, now.m);
    results.forEach(({ canvas, name }, i) => {
      const place = found.ids[i];
      if (place === undefined) canvas.getContext("2d").clearRect(0, 0, SIDE, SIDE);
      else grey(canvas, dark(pictures[i]));
      name.textContent = place === undefined ? "" : classes[labels[place]];
    });
    const names = found.ids.map((place) => classes[labels[place]]);
    tray.setAttribute("aria-label", names.length ? `The nearest: ${names.join(", ")}` : "Nothing was searched for yet");
  };
  const draw = (asked) => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === picked)));
    hint.hidden = picked < 0 && Boolean(asked);
    paper.setAttribute("aria-label", picked >= 0 ? `${classes[picked]}, searched for` : "Your drawing");
    if (picked < 0) return grey(paper, dark(sheet, INK));
    const copy = small();
    grey(copy, dark(asked));
    paper.getContext("2d").drawImage(copy, 0, 0, FINE, FINE);
  };
  // One answer, from strokes to pictures.
  const answer = () => {
    waiting = 0;
    const start = performance.now();
    const asked = query();
    draw(asked);
    const found = asked ? search(index, turn(asked, axes), K, now) : { ids: [], cells: [], scanned: 0, reads: 0 };
    show(found);
    const took = performance.now() - start;
    const all = index.starts.at(-1).toLocaleString("en");
    status.textContent = asked
      ? `Scanned ${found.cells.length} of ${index.starts.length - 1} cells: ${found.scanned.toLocaleString("en")} of ${all} codes, `
        + `${found.reads.toLocaleString("en")} table reads, ${took.toFixed(1)} ms.`
      : `Nothing is drawn. ${all} codes wait.`;
    figure.dispatchEvent(new CustomEvent("answer", { detail: { ...found, query: asked, took } }));
  };
  drawn(paper, () => {
    if (picked >= 0) sheet.fill(0);
    picked = -1;
  }, () => { waiting ||= requestAnimationFrame(answer); });
  clear.addEventListener("click", () => (sheet.fill(0), (picked = -1), answer()));

  const set = (point, values) => {
    if (!now) search(index, turn(examples[0], axes), K, values); // browsers compile what runs again: times are then those of strokes
    now = values;
    answer();
  };
  set.stop = () => cancelAnimationFrame(waiting);
  return set;
});
