// The index and the raw vectors against the RAM, on one scale, and below them the shares of the index, magnified.
// compute() does what Bytes.compute does in Python, in the same words; all bytes stay below 2**53, so doubles are exact.
import { fixed, said } from "./numbers.js";
import { explorer, make } from "./shared.js";

const WANTED = 39; // training points per codeword; Faiss warns below

// What bytes cost in a month, at a price in hundredths for a GB.
const money = (size, price) => {
  const cost = (size * price) / 1e11;
  return fixed(cost, cost >= 100 ? 0 : 2);
};

const divisors = (d) => Array.from({ length: d }, (_, i) => i + 1).filter((m) => d % m === 0);

// As mlpq.predict_memory.
const predict = ({ N, d, m, nbits, cells }, outer, owners) => ({
  codes: N * Math.ceil((m * nbits) / 8),
  ids: N * (N <= 2 ** 32 ? 4 : 8),
  list_offsets: (cells + 1) * 8,
  codebooks: owners * 2 ** nbits * d * 4,
  codebook_of_cell: cells * 8,
  inner_centroids: cells * d * 4,
  outer_centroids: outer * d * 4,
  inner_to_outer: cells * 8,
});

const training = (N, cells, owners, words) => {
  const least = Math.max(cells, words);
  if (N < least) return `But it cannot be trained: that takes at least ${fixed(least, 0)} vectors.`;
  const have = `On average ${fixed(N / owners, 0)} vectors share a codebook of ${fixed(words, 0)} codewords`;
  if (N < owners * words) return `${have}: owners with too few borrow, and it takes less.`;
  return N < owners * words * WANTED ? `${have}; Faiss warns if it trains from fewer than ${fixed(words * WANTED, 0)}.` : `${have}.`;
};

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

const built = (real, memory, owners) => {
  if (!real) return "";
  const total = sum(Object.values(real));
  if (total === sum(Object.values(memory))) return " A real index with these settings takes the same, to the byte.";
  const own = Math.floor((real.codebooks * owners) / memory.codebooks);
  return ` A real index with these settings takes ${said(total)}: ${own} of ${owners} owners have a codebook of their own.`;
};

const compute = (values, data) => {
  const { N, d, m, nbits, cells, owner, ram, ram_price, ssd_price } = values;
  if (d % m) return { error: `m must divide d=${d}; got m=${m}; valid m: ${divisors(d).join(", ")}` };
  const outer = Math.round(Math.sqrt(cells));
  const owners = { inner: cells, outer, global: 1 }[owner];
  const memory = predict(values, outer, owners);
  const { groups, measured } = data.shared;
  const parts = Object.entries(groups).map(([part, names]) => [part, sum(names.map((name) => memory[name]))]);
  const sizes = parts.map(([, size]) => size);
  const [total, raw, room] = [sum(sizes), N * d * 4, ram * 1e9];
  const share = (size) => `${fixed((size / total) * 100, 1)} %`;
  const large = parts.filter(([, size]) => size >= 0.01 * total).sort(([, a], [, b]) => b - a);
  const where = data.controls.find(({ name }) => name === "ram").words[ram];
  const compared = raw >= total ? `${fixed(raw / total, 1)} times as much` : "less than the index";
  return {
    bytes: sizes, raw,
    total: said(total), each: fixed(total / N, 1),
    split: large.map(([part, size]) => `${part} ${share(size)}`).join(", "),
    verdict: total <= room
      ? `It fits in ${where} and leaves ${said(room - total)}.`
      : `It does not fit in ${where}: ${said(total - room)} too much.`,
    ratio: `The raw vectors take ${said(raw)}, ${compared}, and ${raw <= room ? "" : "do not "}fit.`,
    cost: `A month costs ${money(total, ram_price)} for the index in RAM; for the raw vectors ${money(raw, ram_price)} in RAM, ${money(raw, ssd_price)} on an SSD.`,
    training: training(N, cells, owners, 2 ** nbits),
    real: built(measured[[N, d, m, nbits, cells, owner]], memory, owners),
    parts: [...parts.map(([part]) => part), "all"], sizes: [...sizes, total].map((size) => fixed(size, 0)),
    pers: [...sizes, total].map((size) => fixed(size / N, 1)), shares: [...sizes.map(share), "100 %"],
  };
};

const python = ({ N, d, m, nbits, cells, owner }) => `import mlpq

memory = mlpq.predict_memory(${N}, ${d}, ${cells}, ${Math.round(Math.sqrt(cells))}, m=${m}, nbits=${nbits}, codebooks="${owner}")
print(memory.total, dict(memory))
`;

export default explorer((figure, data) => {
  const names = Object.keys(data.shared.groups);
  const bar = () => names.map((name) => make("i", { class: name }));
  const lane = (...inside) => {
    const words = make("p");
    const ram = make("b");
    return { words, ram, node: make("div", { class: "lane" }, words, make("div", {}, ram, ...inside)) };
  };
  const [own, shares, raw] = [bar(), bar(), make("i", { class: "raw" })];
  const [index, vectors, magnified] = [lane(...own), lane(raw), lane(...shares)];
  magnified.ram.remove();
  const labels = names.map((name) => make("span", {}, make("i", { class: name }), make("span")));
  const all = make("div", { role: "img", class: "account" }, index.node, vectors.node, magnified.node,
    make("div", { class: "legend" }, ...labels));
  figure.append(all);
  const percent = (share) => `${Math.min(100, 100 * share).toFixed(2)}%`;

  return (point, { ram }, words) => {
    const total = sum(point.bytes);
    const room = ram * 1e9;
    const scale = 1.06 * Math.max(total, room); // leaves room to show that the raw vectors go beyond
    for (const [{ ram: frame, words: text }, size, name] of [[index, total, "index"], [vectors, point.raw, "raw vectors"]]) {
      frame.style.width = percent(room / scale);
      frame.className = size <= room ? "fits" : "full";
      text.textContent = `${name}, ${said(size)}: ${size <= room ? "fits" : "does not fit"} in ${words.ram}`;
    }
    raw.style.width = percent(point.raw / scale);
    raw.classList.toggle("beyond", point.raw > scale);
    point.bytes.forEach((size, i) => {
      own[i].style.width = percent(size / scale);
      shares[i].style.width = percent(size / total);
      labels[i].lastChild.textContent = `${names[i]} ${point.shares[i]}, ${said(size)}`;
    });
    magnified.words.textContent = "the parts of the index, magnified";
    all.setAttribute("aria-label", `Bars: ${point.split}. ${point.verdict} ${point.ratio}`);
  };
}, compute, python);
