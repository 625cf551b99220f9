// What the Lab advises for N vectors, from what it measured on some of them: the bytes of an index, the recall to expect, the
// setting that reads least, and the Python that builds it.
import { fixed, odds, said } from "./numbers.js";

const [K, PAGE] = [10, 4096];

// Bytes by part: as mlpq.predict_memory with a PCA.
export const account = (N, { d, cells }, { m, nbits, dim }) => ({
  codes: N * Math.ceil((m * nbits) / 8),
  ids: N * (N <= 2 ** 32 ? 4 : 8),
  codebooks: 2 ** nbits * dim * 4,
  mean: d * 4,
  axes: d * dim * 4,
  inner_centroids: cells * dim * 4,
  outer_centroids: outer(cells) * dim * 4,
  list_offsets: (cells + 1) * 8,
  codebook_of_cell: cells * 8,
  inner_to_outer: cells * 8,
});
const outer = (cells) => Math.round(Math.sqrt(cells));
export const total = (parts) => Object.values(parts).reduce((a, b) => a + b, 0);

// Recall foretold for N vectors from what was learnt on n: [expected, low, high]; mlpq.bench.sample says how, and why.
export const foretold = ([recall, half, changes], n, N) => {
  const steps = Math.max(0, Math.log2(N / n) / 2); // of four times as many
  const k = Math.max(2, Math.min(changes.length - 1, Math.floor((K / 2) * Math.sqrt(n / N) + 0.5)));
  const [slope, wide] = [0, 1].map((part) => changes.slice(k - 2, k + 1).reduce((sum, change) => sum + change[part] / 3, 0));
  const expected = steps * slope ? 1 / (1 + Math.exp(-odds(recall) - steps * slope)) : recall;
  const error = Math.hypot(half, steps * wide);
  return [expected, Math.max(0, expected - error), Math.min(1, expected + error)];
};

// All settings for N vectors, each with the bytes that it holds in RAM and those that a query touches: codes in the cells that
// it visits, and a page of the disk, or more, for each original that it reads.
export const settings = (coarse, codes, N) => codes.flatMap((code) => {
  const parts = account(N, coarse, code);
  return coarse.nprobes.flatMap((nprobe, p) => code.reranks.map((rerank, r) => {
    const reads = rerank > 1 ? rerank * K : 0;
    const [recall, low, high] = foretold(code.found[p][r], coarse.count, N);
    const touched = ((N * nprobe) / coarse.cells) * code.size + reads * Math.max(PAGE, 4 * coarse.d);
    return { code, nprobe, rerank, reads, recall, low, high, ram: total(parts), parts, touched };
  }));
});

// The setting to take: of those within the RAM that are expected to reach the recall the one that touches least; else the
// one that is expected to find most. { best, reached, why }
export const advise = (coarse, codes, { N, ram, target }) => {
  const all = settings(coarse, codes, N);
  const fitting = all.filter((one) => one.ram <= ram);
  if (!fitting.length) {
    const least = Math.min(...all.map((one) => one.ram));
    return { best: null, reached: false, why: `No code measured fits: the shortest takes ${said(least)} for ${fixed(N, 0)} vectors.` };
  }
  const good = fitting.filter((one) => one.recall >= target);
  const best = (list, of) => list.reduce((a, b) => (of(b) < of(a) ? b : a));
  if (good.length) return { best: best(good, (one) => one.touched), reached: true, why: "" };
  const most = best(fitting, (one) => -one.recall);
  const longer = all.filter((one) => one.recall >= target);
  const why = longer.length
    ? `With ${said(Math.min(...longer.map((one) => one.ram)))} of RAM it would be reached.`
    : "No setting measured reaches it: what lies beyond the best 500 by code, or beyond these cells, is lost.";
  return { best: most, reached: false, why };
};

// Python lines that build the index of the file `name`, or of `given`, which Python knows, and search it: { mlpq, faiss }.
export const python = ({ d, cells, metric }, { code: { m, nbits, dim }, nprobe, rerank }, name, N, given) => {
  const plain = !given && name.endsWith(".npy");
  const file = JSON.stringify(name);
  const held = given ?? `mlpq.load_dataset(${file}).xb  # without some rows, held out as queries`;
  const xb = `xb = ${plain ? `np.load(${file}).astype(np.float32)` : held}`;
  const xq = "xq = xb[:5]  # here your queries, a row each";
  const most = Math.min(N, Math.max(65_536, 256 * cells));
  const some = most < N ? `xb[::${Math.floor(N / most)}]` : "xb";
  const kept = rerank > 1;
  const lines = (...all) => all.filter((line) => line !== null).join("\n");
  const ours = lines(
    "import mlpq", plain ? "import numpy as np" : null, "", xb, xq, "",
    "index = mlpq.MultiLevelPQ(",
    `    ${d}, n_inner=${cells}, n_outer=${outer(cells)}, metric="${metric}", pca_dim=${dim}, m=${m}, nbits=${nbits},`,
    kept ? "    keep_originals=True," : null, ")",
    `index.train(${some}).add(xb)`,
    kept ? 'index.save("index.h5")' : null, kept ? 'index = mlpq.MultiLevelPQ.load("index.h5", mmap=True)  # originals stay on the disk' : null,
    `D, I = index.search(xq, k=${K}, nprobe=${nprobe}${kept ? `, rerank=${rerank}` : ""})`,
  );
  const faiss = lines(
    "import faiss", plain ? "import numpy as np" : "import mlpq", "", xb, xq,
    ...(metric === "cosine" ? ["faiss.normalize_L2(xb)", "faiss.normalize_L2(xq)"] : []), "",
    `index = faiss.index_factory(${d}, "PCAR${dim},IVF${cells},PQ${m}x${nbits}${kept ? ",RFlat" : ""}")`,
    `index.train(${some})`, "index.add(xb)", `faiss.try_extract_index_ivf(index).nprobe = ${nprobe}`,
    kept ? `index.k_factor = ${rerank}  # the originals are in RAM` : null,
    `D, I = index.search(xq, ${K})`,
  );
  return { mlpq: ours, faiss };
};
