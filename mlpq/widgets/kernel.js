// How fast codes are scanned and copied, on a logarithmic scale: rings were recorded, full dots are measured here, by a
// worker that starts when the button is pressed and ends with its answer, with another setting, or when the reader leaves.
import { bytes, entry, explorer, make } from "./shared.js";

const ROWS = { js: "JavaScript scans", memory: "JavaScript copies", scan: "the card scans", copy: "the card copies" };
const [FROM, TO, GAP] = [0.001, 10_000, 40]; // GB/s; pixels between rows
const IDLE = "Nothing has run yet. The codes are made here, and nothing is sent anywhere.";
const measured = new Map(); // setting -> what was measured on this computer

const short = (x) => (x >= 100 ? x.toFixed(0) : String(Number(x.toPrecision(2))));
const rates = ({ bytes: size, js, memory, card }) => ({
  js: size / js / 1e6, memory: (2 * size) / memory / 1e6,
  ...(card && { scan: size / card.scan / 1e6, copy: (2 * size) / card.copy / 1e6 }),
});

const told = (result) => {
  const { js, memory, scan, copy } = rates(result);
  const share = (part, whole) => `${short(part)} GB/s, ${short((100 * part) / whole)} % of what it copies (${short(whole)})`;
  const own = `JavaScript scans ${share(js, memory)}.`;
  if (!result.card) return `${result.failure} ${own} For cards there are the recorded figures.`;
  const ids = result.same ? "The same ten ids from both." : "THE IDS DIFFER: please report your card.";
  return `${ids} ${result.adapter} scans ${share(scan, copy)}: ${short(result.card.scan)} ms a query in a row of many, `
    + `${short(result.card.once)} ms for one alone with its answer. ${own}`;
};

export default explorer((figure, data, narrow) => {
  figure.classList.add("kernel");
  figure.classList.toggle("narrow", narrow);
  const button = make("button", { type: "button" }, "Measure here");
  const status = make("p", { class: "status", "aria-live": "polite" }, IDLE);
  const chart = make("svg", { role: "img" });
  const ring = make("circle", { cx: 9, cy: 7, r: 5, class: "recorded" });
  const dot = make("circle", { cx: 9, cy: 7, r: 5, class: "own" });
  const legend = make("div", { class: "legend" }, entry("recorded", ring), entry("measured here", dot));
  figure.append(button, status, chart, legend);

  const width = narrow ? 300 : 700;
  const x = (rate) => 12 + ((Math.log(Math.max(rate, FROM) / FROM) / Math.log(TO / FROM)) * (width - 40));
  const bottom = GAP * 4 + 8;
  let now = null; // the setting, and the point that is shown
  let worker = null;

  const dots = (of, kind) => Object.keys(ROWS).flatMap((name, i) => (of[name]
    ? [make("circle", { cx: x(of[name]).toFixed(1), cy: GAP * i + 28, r: 5.5, class: kind })] : []));
  const draw = () => {
    const own = measured.get(now.key);
    const mine = own ? rates(own) : {};
    const ticks = [0.001, 0.1, 10, 1000];
    chart.setAttribute("viewBox", `0 0 ${width} ${bottom + 34}`);
    chart.setAttribute("width", width);
    chart.setAttribute("aria-label", `Gigabytes a second, on a logarithmic scale. ${Object.entries(ROWS)
      .map(([name, words]) => `${words}: ${now.point.rates[name] ?? "not measured"} as recorded, ${mine[name] ? short(mine[name]) : "not measured"} here`)
      .join("; ")}.`);
    chart.replaceChildren(
      ...ticks.flatMap((tick) => [
        make("path", { d: `M${x(tick)} 0V${bottom}`, class: "grid" }),
        make("text", { x: x(tick), y: bottom + 14, "text-anchor": tick === FROM ? "start" : "middle" }, tick.toLocaleString("en")),
      ]),
      make("text", { x: x(TO), y: bottom + 30, "text-anchor": "end" }, "GB/s"),
      ...Object.values(ROWS).flatMap((words, i) => [
        make("text", { x: 12, y: GAP * i + 14 }, words), make("path", { d: `M12 ${GAP * i + 28}H${width - 28}`, class: "grid" }),
      ]),
      ...dots(now.point.rates, "recorded"), ...dots(mine, "own"),
    );
    if (own) figure.dataset.result = JSON.stringify(own);
    else delete figure.dataset.result;
    if (!worker) status.textContent = own ? told(own) : IDLE;
  };

  const halt = (words) => {
    worker?.terminate();
    worker = null;
    button.textContent = "Measure here";
    if (words) status.textContent = words;
  };
  const begin = () => {
    const { values: { N, m, nbits }, key } = now;
    const url = URL.createObjectURL(new Blob([data.worker], { type: "text/javascript" }));
    worker = new Worker(url);
    button.textContent = "Stop";
    worker.onmessage = ({ data: { doing, result, failure } }) => {
      if (doing) status.textContent = doing;
      if (failure) halt(`It failed: ${failure}`);
      if (!result) return;
      measured.set(key, result);
      halt();
      draw();
    };
    worker.onerror = ({ message }) => halt(`It failed: ${message}`);
    worker.postMessage({ N, m, nbits, seed: data.seed, table: bytes(data.shared.tables[[m, nbits]]), shader: data.shader });
    URL.revokeObjectURL(url);
  };
  button.addEventListener("click", () => (worker ? halt("Stopped.") : begin()));
  const leave = () => halt(IDLE);
  addEventListener("pagehide", leave);

  const show = (point, values) => {
    const key = Object.values(values).join();
    if (worker && key !== now.key) halt();
    now = { point, values, key };
    draw();
  };
  show.stop = () => {
    halt();
    removeEventListener("pagehide", leave);
  };
  return show;
});
