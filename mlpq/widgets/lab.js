// The Lab: a file of the reader's own vectors, measured in the page by a worker, and what to build for them. Nothing is sent
// anywhere. The work is in lab-worker.js, the advice in lab-advice.js, the figures in lab-charts.js.
import { advise, python, total } from "./lab-advice.js";
import { byBytes, cells, losses, originals } from "./lab-charts.js";
import { fixed, said } from "./numbers.js";
import { bytes, make } from "./shared.js";

const IDLE = "Nothing has run yet.";
const SIGHT = 0.98; // of the neighbours that all cells hold: where the figures of codes stand

const seconds = (left) => (left >= 90 ? `about ${Math.round(left / 60)} minutes left` : `about ${Math.max(1, Math.round(left))} s left`);
const share = (x) => `${fixed(100 * x, x < 0.01 ? 1 : 0)} %`;

// What was read, and what looks wrong in it.
const readOut = (s) => [
  `${s.name}, ${said(s.size)}: ${fixed(s.n, 0)} rows of ${fixed(s.d, 0)} numbers, ${s.dtype}. `
    + (s.rows < s.n ? `${fixed(s.rows, 0)} rows were drawn from all over the file.` : "All rows were read."),
  `Lengths: ${s.length.toPrecision(3)}${s.spread > 1e-4 * s.length ? ` ± ${s.spread.toPrecision(2)}` : ", all"}. Measured by ${s.metric === "l2" ? "L2" : "cosine"}`
    + (s.suggested ? `, since ${s.metric === "l2" ? "lengths differ: if only directions count, choose cosine" : "all are of one length"}.` : "."),
];
const wrong = (s) => [
  s.nan && `${fixed(s.nan, 0)} rows hold NaN or infinity. They are left out here; mlpq refuses them.`,
  s.zero && `${fixed(s.zero, 0)} rows are zero${s.metric === "cosine" ? " and have no direction: they are left out here, and mlpq refuses them" : ""}.`,
  s.equal && `${fixed(s.equal, 0)} rows equal another one (${share(s.equal / s.kept)}). Equal rows crowd out neighbours: store each once.`,
  s.largest > 0.5 && s.d > 2 && `Place ${s.place} holds ${share(s.largest)} of the variance: distances hardly see the others. Is it of another unit?`,
  s.off > 0.5 && `The mean holds ${share(s.off)} of the squared length: the vectors are not centred. L2 does not mind; cosine and inner product do.`,
].filter(Boolean);

// Lines of code, and a button that copies them; a browser that forbids it has them selected.
const code = (heading, text) => {
  const button = make("button", { type: "button" }, "Copy");
  const lines = make("pre", { tabindex: 0 }, text);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(lines);
      button.textContent = "Selected: copy by hand";
    }
  });
  return make("div", { class: "code" }, make("p", {}, make("strong", {}, heading), " ", button), lines);
};

const download = (name, type, make_) => {
  const button = make("button", { type: "button" }, `Download ${name}`);
  button.addEventListener("click", () => {
    const link = make("a", { href: URL.createObjectURL(new Blob([make_()], { type })), download: name });
    link.click();
    URL.revokeObjectURL(link.href);
  });
  return button;
};

const number = (label, value, step) => {
  const input = make("input", { type: "number", value, step, min: 0 });
  return { node: make("label", {}, make("span", {}, label), input), read: () => Number(input.value), input };
};

// What to build, for the reader's numbers.
const advice = (found, changed) => {
  const { summary, coarse, codes } = found;
  const N = number("vectors in the index", summary.n, 1);
  const ram = number("RAM for it, MB", Math.max(100, Number(((summary.n * summary.d) / 8e6).toPrecision(2))), 1);
  const target = number("recall@10 wanted", 0.95, 0.01);
  const out = make("div", { "aria-live": "polite" });
  const show = () => {
    const asked = { N: N.read(), ram: 1e6 * ram.read(), target: target.read() };
    if (!(asked.N >= 1 && asked.ram > 0 && asked.target > 0 && asked.target <= 1)) {
      out.replaceChildren(make("p", {}, "Vectors and RAM must be above 0, and recall from 0 to 1."));
      return changed(null);
    }
    const { best, reached, why } = advise(coarse, codes, asked);
    if (!best) {
      out.replaceChildren(make("p", {}, why));
      return changed(null);
    }
    const lines = python(coarse, best, summary.name, asked.N, found.given);
    const { m, nbits, dim } = best.code;
    const parts = Object.entries(best.parts).filter(([, size]) => size >= 0.001 * best.ram).sort(([, a], [, b]) => b - a);
    const rows = [...parts.map(([name, size]) => [name.replaceAll("_", " "), size]), ["all", total(best.parts)]];
    const rests = `Measured on ${fixed(coarse.count, 0)} of your ${fixed(summary.n, 0)} rows with ${coarse.nq} queries`
      + (asked.N > summary.rows ? `, and carried to ${fixed(asked.N, 0)} by how it changes from a quarter of these to all` : "")
      + `: expect ${best.low.toFixed(2)} to ${best.high.toFixed(2)}.`;
    out.replaceChildren(
      make("p", {}, reached ? "" : `${found.done ? why : "No setting measured so far reaches it."} The best that fits: `,
        make("strong", {}, `m = ${m}, nbits = ${nbits}, PCA to ${dim}, nprobe = ${best.nprobe} of ${coarse.cells} cells${best.rerank > 1 ? `, ${best.reads} originals read` : ", no originals"}`),
        `. Recall@10 ${best.recall.toFixed(2)}, ${said(best.ram)} of RAM (${fixed(best.ram / asked.N, 1)} bytes a vector).${found.done ? "" : " More codes are being measured."}`),
      make("p", {}, rests),
      make("table", {}, make("thead", {}, make("tr", {}, make("th", {}, "in RAM"), make("th", {}, "bytes"), make("th", {}, "a vector"))),
        make("tbody", {}, ...rows.map(([name, size]) => make("tr", {}, make("td", {}, name), make("td", {}, fixed(size, 0)), make("td", {}, fixed(size / asked.N, 2)))))),
      code("mlpq", lines.mlpq), code("Faiss", lines.faiss),
    );
    changed({ asked, best, reached, lines });
  };
  for (const { input } of [N, ram, target]) input.addEventListener("input", show);
  return { node: make("section", {}, make("p", { class: "title" }, "What to build"), make("div", { class: "controls" }, N.node, ram.node, target.node), out), show };
};

// The page that is downloaded: what is shown, without what can be pressed.
const report = (el, style) => {
  const copy = el.cloneNode(true);
  const values = [...el.querySelectorAll(".controls input")].map(({ value }) => value);
  [...copy.querySelectorAll(".controls input")].forEach((input, i) => input.replaceWith(values[i]));
  copy.querySelectorAll("button, progress, .drop, .left").forEach((node) => node.remove());
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>mlpq Lab</title><style>${style}</style><body>${copy.outerHTML}</body></html>`;
};

export default {
  render({ model, el }) {
    const data = model.get("data");
    let [worker, file, given, found, chosen, form] = [null, null, null, {}, null, null];
    const input = make("input", { type: "file", accept: ".npy,.fvecs,.bvecs,.fbin,.u8bin,.i8bin" });
    const metric = make("select", { "data-control": "metric", "data-lm-suppress-shortcuts": "true" }, ...Object.entries({ "": "as the lengths suggest", cosine: "cosine", l2: "L2" }).map(([value, words]) => make("option", { value }, words)));
    const drop = make("div", { class: "drop" },
      make("label", {}, make("span", {}, "Drop a file of vectors here, or choose one: .npy, .fvecs, .bvecs, .fbin, .u8bin, .i8bin, of any size"), input),
      make("label", {}, make("span", {}, "distance"), metric),
      ...Object.entries(data.samples).map(([name, { words }]) => {
        const button = make("button", { type: "button", "data-sample": name }, words);
        button.addEventListener("click", () => sample(name));
        return button;
      }),
    );
    const status = make("p", { class: "status", "aria-live": "polite" }, IDLE); // read aloud: what is done, not every second that is left
    const progress = make("progress", { max: 1, value: 0, hidden: "", "aria-label": "how much is done" });
    const left = make("span", { class: "left", hidden: "" });
    const cancel = make("button", { type: "button", hidden: "" }, "Cancel");
    const [read, figures, build] = [make("section"), make("div", { class: "figures" }), make("div")];
    const saved = make("div", { class: "saved", hidden: "" },
      download("report.html", "text/html", () => report(el, data.style)), download("report.json", "application/json", () => JSON.stringify({ ...found, advice: chosen }, null, 1)));
    el.classList.add("mlpq-explorer", "lab");
    el.setAttribute("role", "group");
    el.setAttribute("aria-label", data.title);
    el.replaceChildren(make("p", { class: "title" }, data.title), drop, status, progress, left, cancel, read, figures, build, saved,
      make("p", { class: "about" }, "Nothing leaves this computer: the file is read here, by slices, and measured by this page."));

    const halt = (words) => {
      worker?.terminate();
      worker = null;
      if (document.activeElement === cancel) input.focus(); // which a hidden button would lose
      progress.hidden = left.hidden = cancel.hidden = true;
      if (words) status.textContent = words;
    };
    const draw = () => {
      const { coarse, codes } = found;
      if (!coarse) return;
      const narrow = el.clientWidth < 480;
      const p = coarse.inside.findIndex((part) => part >= SIGHT * coarse.inside.at(-1));
      figures.replaceChildren(cells(coarse, narrow), ...(codes.length ? [byBytes(coarse, codes, p, narrow), losses(coarse, codes, p), originals(codes, p, narrow)] : []));
      if (!codes.length) return;
      form ??= advice(found, (now) => { chosen = now; });
      build.replaceChildren(form.node);
      form.show();
      saved.hidden = false;
    };
    const take = {
      doing: ({ doing, share: done, left: more }) => {
        if (status.textContent !== `${doing} …`) status.textContent = `${doing} …`;
        progress.value = done;
        left.textContent = more ? seconds(more) : "";
      },
      summary: ({ summary }) => {
        Object.assign(found, { summary });
        const list = wrong(summary);
        read.replaceChildren(make("p", { class: "title" }, "What was read"), ...readOut(summary).map((words) => make("p", {}, words)),
          list.length ? make("ul", {}, ...list.map((words) => make("li", {}, words))) : make("p", {}, "Nothing looks wrong: no NaN, no zero vectors, no duplicates among these rows."));
      },
      coarse: ({ coarse }) => (Object.assign(found, { coarse }), draw()),
      code: ({ code: one }) => (found.codes.push(one), draw()),
      done: () => {
        found.done = true;
        halt(`Done in ${fixed((performance.now() - found.started) / 1000, 0)} s.`);
        draw();
      },
      failure: ({ failure }) => halt(failure),
    };
    const begin = () => {
      halt();
      found = { codes: [], given, started: performance.now() };
      [form, chosen] = [null, null];
      for (const part of [read, figures, build]) part.replaceChildren();
      saved.hidden = true;
      progress.hidden = left.hidden = cancel.hidden = false;
      const url = URL.createObjectURL(new Blob([data.worker], { type: "text/javascript" }));
      worker = new Worker(url);
      URL.revokeObjectURL(url);
      worker.onmessage = ({ data: message }) => take[Object.keys(message)[0]](message);
      worker.onerror = ({ message }) => halt(`It failed: ${message ?? "the worker did not start"}`);
      worker.postMessage({ file, metric: metric.value || null });
    };
    const choose = (next, held = null) => { // held: what is in it, in Python, where there is no file
      if (!next) return; // a dialogue left, a text dropped
      [file, given] = [next, held];
      begin();
    };
    const sample = (name) => {
      halt("Loading the sample …");
      const script = make("script", { src: data.samples[name].url });
      script.addEventListener("load", () => choose(new File([bytes(window.mlpqSamples[name])], `${name}.npy`), data.samples[name].xb));
      script.addEventListener("error", () => halt("The samples come with the pages of the book, and are not here."));
      document.head.append(script);
    };
    input.addEventListener("click", () => { input.value = ""; }); // or the same file, chosen again, would be no change
    input.addEventListener("change", () => choose(input.files[0]));
    metric.addEventListener("input", () => file && begin());
    cancel.addEventListener("click", () => halt("Cancelled. What was measured so far stays."));
    const over = (event) => (event.preventDefault(), drop.classList.add("over"));
    const away = () => drop.classList.remove("over");
    const dropped = (event) => (event.preventDefault(), away(), choose(event.dataTransfer.files[0]));
    const listeners = Object.entries({ dragover: over, dragleave: away, drop: dropped }); // all of it: beside it a browser opens the file
    for (const [name, listener] of listeners) el.addEventListener(name, listener);
    return () => {
      halt();
      for (const [name, listener] of listeners) el.removeEventListener(name, listener);
    };
  },
};
