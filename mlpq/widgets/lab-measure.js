// What the Lab measures, on rows of d numbers in one array: what looks wrong in them, the true neighbours, and cells and codes
// after PCA, as in mlpq. For a code the rank of each true neighbour is found once; from the ranks come recall by codes alone and after
// reading any number of originals, for every nprobe. Nothing here knows of the page; what takes long waits for `progress` between
// its blocks.
import { beside, decode, encode, exact, multiply, smallest, squared } from "./engine.js";
import { assigned, inBlocks, train } from "./engine-train.js";
import { deal, dot } from "./lab-pca.js";
import { odds } from "./numbers.js";

export const K = 10;
export const [PARTS, NEAR] = [4, 5]; // quarters of the rows, each with its own NEAR true nearest: how recall changes with n
export const NPROBES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256];
const [ROWS, NITER] = [10_000, 8]; // that train a code
const ROUNDED = 1e-5; // of a squared length: what components in float32 may be wrong by, and more

// What is to be known of rows before they are used: { kept, nan, zero, equal, length, spread, largest, off }. `kept` are the
// rows that are finite; shares are of these: `length` and `spread` are mean and standard deviation of their lengths,
// `largest` the share of the variance in one place, `off` the share of the squared length in the mean.
export const audit = async (x, d, progress) => {
  const [kept, seen, lengths] = [[], new Map(), []];
  const [mean, second] = [new Float64Array(d), new Float64Array(d)];
  let [zero, equal] = [0, 0];
  for (let i = 0; i < x.length / d; i++) {
    if (i % 64 === 0) await progress((i * d) / x.length);
    const row = x.subarray(i * d, (i + 1) * d);
    const length = Math.sqrt(dot(row, 0, row, 0, d));
    if (!Number.isFinite(length)) continue;
    kept.push(i);
    lengths.push(length);
    if (length === 0) zero++;
    let hash = 0;
    for (const value of new Uint32Array(row.slice().buffer)) hash = Math.imul(hash ^ value, 0x9e3779b1) ^ (hash >>> 15);
    const others = seen.get(hash) ?? [];
    if (others.some((j) => row.every((value, at) => value === x[j * d + at]))) equal++;
    else seen.set(hash, [...others, i]);
    for (let j = 0; j < d; j++) {
      mean[j] += row[j];
      second[j] += row[j] ** 2;
    }
  }
  const n = kept.length;
  const length = lengths.reduce((a, b) => a + b, 0) / n;
  const spread = Math.sqrt(lengths.reduce((a, b) => a + (b - length) ** 2, 0) / n);
  const [all, centre] = [second.reduce((a, b) => a + b, 0) / n, mean.reduce((a, b) => a + (b / n) ** 2, 0)];
  const variances = second.map((sum, j) => sum / n - (mean[j] / n) ** 2);
  const total = variances.reduce((a, b) => a + b, 0);
  const at = variances.indexOf(Math.max(...variances));
  return {
    kept, nan: x.length / d - n, zero, equal, length, spread, off: all ? centre / all : 0,
    largest: total ? variances[at] / total : 0, place: at,
  };
};

// Where each part of n rows begins, and where the last one ends.
export const starts = (n) => Array.from({ length: PARTS + 1 }, (_, part) => Math.floor((part * n) / PARTS));

// The true nearest of each query, nearest first: K among all rows of xb, and NEAR in each part, one part after the other. By their
// components yb and yq (., dims) rows are never further apart than they are: products of these, with all queries at once, say which rows
// may be near. Of those the distances are summed.
export const truths = async (xb, xq, d, { yb, yq, dims }, progress) => {
  const [nq, ends, zero] = [xq.length / d, starts(xb.length / d), new Float64Array(dims)];
  const [all, near] = [new Int32Array(nq * K), new Int32Array(nq * PARTS * NEAR)];
  const lengths = Float64Array.from({ length: nq }, (_, q) => dot(yq, q, yq, q, dims));
  const side = { columns: beside(yq, dims), k: nq, start: lengths.map((length) => -length / 2), mean: zero };
  const best = Array.from({ length: nq }, () => smallest(K));
  for (let part = 0; part < PARTS; part++) {
    const own = Array.from({ length: nq }, () => smallest(K));
    const bounds = new Float64Array(nq).fill(Infinity);
    await inBlocks(ends[part + 1] - ends[part], nq * dims, (share) => progress((part + share) / PARTS), (from, to) => {
      const first = ends[part] + from;
      multiply(yb.subarray(first * dims, (ends[part] + to) * dims), side, (i, sums, at) => {
        const row = first + i;
        const length = dot(yb, row, yb, row, dims);
        for (let q = 0; q < nq; q++) {
          if (length - 2 * sums[at + q] > bounds[q] + ROUNDED * (length + lengths[q])) continue;
          const distance = squared(xb, row, xq, q, d, bounds[q]);
          if (distance < bounds[q]) own[q].offer(row, distance);
          bounds[q] = own[q].bound;
        }
      });
    });
    own.forEach(({ ids, distances }, q) => {
      ids.forEach((id, i) => best[q].offer(id, distances[i]));
      near.set(ids.slice(0, NEAR), (q * PARTS + part) * NEAR);
    });
  }
  best.forEach(({ ids }, q) => all.set(ids, q * K));
  return { all, near };
};

// The cells: which holds each row, and in which order each query visits them: order[q * cells + c] is the turn of cell c.
export const visits = async (xb, xq, d, centroids, progress) => {
  const cells = centroids.length / d;
  const order = new Int32Array((xq.length / d) * cells);
  exact(centroids, xq, d, cells).forEach((c, at) => { order[at - (at % cells) + c] = at % cells; });
  return { cells, labels: (await assigned(xb, d, centroids, progress)).labels, order };
};

// The share of the true neighbours that lie in the first nprobe cells, for each nprobe.
export const inSight = ({ cells, labels, order }, truth, nprobes) => {
  const turns = Array.from(truth, (id, at) => order[Math.floor(at / K) * cells + labels[id]]);
  return nprobes.map((nprobe) => turns.filter((place) => place < nprobe).length / turns.length);
};

// The first dim of all principal components of y (n, dims), in the order in which m sub-vectors get them.
const dealt = (y, dims, dim, m, variances) => {
  const places = deal(variances.slice(0, dim), m);
  const out = new Float32Array((y.length / dims) * dim);
  for (let from = 0, to = 0; from < y.length; from += dims) for (let j = 0; j < dim; j++, to++) out[to] = y[from + places[j]];
  return out;
};

// Codes of residuals, and what it takes to search in them. `own` is |b|^2 + 2 c b of the decoded residual b in cell c.
const coded = async ({ dims, variances, ...data }, { m, nbits, dim }, progress) => {
  const [y, q, centroids] = [data.yb, data.yq, data.centroids].map((one) => dealt(one, dims, dim, m, variances));
  const part = (from, to) => (share) => progress(from + (to - from) * share);
  const { cells, labels, order } = await visits(y, q, dim, centroids, part(0, 0.1));
  const rest = y.slice();
  labels.forEach((cell, i) => { for (let j = 0; j < dim; j++) rest[i * dim + j] -= centroids[cell * dim + j]; });
  const pq = await train(rest.subarray(0, ROWS * dim), dim, m, nbits, { niter: NITER, progress: part(0.1, 0.6) });
  const codes = new Uint8Array(labels.length * m);
  await inBlocks(labels.length, pq.ksub * dim, part(0.6, 0.7), (from, to) => codes.set(encode(pq, rest.subarray(from * dim, to * dim)), from * m));
  const decoded = decode(pq, codes);
  const own = Float64Array.from(labels, (cell, i) => dot(decoded, i, decoded, i, dim) + 2 * dot(decoded, i, centroids, cell, dim));
  return { q, centroids, cells, labels, order, pq, codes, own };
};

// A code: the rank of each true neighbour among all rows, and in its own part. data holds components yb, yq and centroids
// (., dims), their variances, and truth, as `truths` finds it.
// Returns { all, near }, each [nprobe index] = Int32Array, as in truth: how many codes in sight stand before it, -1 where it is not.
export const ranks = async ({ truth, ...data }, { dim, ...code }, nprobes, progress) => {
  const { q, centroids, cells, labels, order, pq, codes, own } = await coded(data, { dim, ...code }, progress);
  const [n, nq] = [labels.length, q.length / dim];
  const out = { all: nprobes.map(() => new Int32Array(truth.all.length)), near: nprobes.map(() => new Int32Array(truth.near.length)) };
  const ends = starts(n);
  const base = new Float64Array(cells);
  const distances = new Float64Array(n);
  for (let query = 0; query < nq; query++) {
    const table = products(pq, q, query);
    for (let cell = 0; cell < cells; cell++) base[cell] = squared(q, query, centroids, cell, dim);
    for (let i = 0, at = 0; i < n; i++) {
      let sum = base[labels[i]] + own[i];
      for (let entry = 0; entry < table.length; entry += pq.ksub, at++) sum += table[entry + codes[at]];
      distances[i] = sum;
    }
    const turns = order.subarray(query * cells, (query + 1) * cells);
    const place = (to, trues, at, from, end) => before(distances, labels, turns, trues, from, end).forEach((counts, t) => {
      let [rank, turn] = [0, 0];
      nprobes.forEach((nprobe, p) => {
        for (; turn < nprobe; turn++) rank += counts[turn];
        to[p][at + t] = turns[labels[trues[t]]] < nprobe ? rank : -1;
      });
    });
    place(out.all, truth.all.subarray(query * K, (query + 1) * K), query * K, 0, n);
    for (let part = 0, at = query * PARTS * NEAR; part < PARTS; part++, at += NEAR) {
      place(out.near, truth.near.subarray(at, at + NEAR), at, ends[part], ends[part + 1]);
    }
    await progress(0.7 + (0.3 * query) / nq);
  }
  return out;
};

// -2 q b for each codeword b: the table (m, ksub) of a query.
const products = ({ m, ksub, dsub, codebooks }, q, query) => {
  const table = new Float64Array(m * ksub);
  for (let j = 0, at = 0, from = 0; j < m; j++) {
    for (let code = 0; code < ksub; code++, at++, from += dsub) {
      let sum = 0;
      for (let t = 0, a = (query * m + j) * dsub; t < dsub; t++) sum += q[a + t] * codebooks[from + t];
      table[at] = -2 * sum;
    }
  }
  return table;
};

// For each true neighbour the number of codes nearer than its own, of rows from `from` to `end`, by the turn of their cells.
const before = (distances, labels, turns, trues, from, end) => {
  const counts = Array.from(trues, () => new Int32Array(turns.length));
  const bounds = Array.from(trues, (id) => distances[id]);
  const bound = Math.max(...bounds);
  for (let i = from; i < end; i++) {
    if (distances[i] >= bound) continue;
    for (let t = 0; t < trues.length; t++) if (distances[i] < bounds[t]) counts[t][turns[labels[i]]]++;
  }
  return counts;
};

// Of each query, which has `width` ranks, the share of the first k of every `step` that stand among the r * k best by code.
const shares = (of, width, step, k, r) => Float64Array.from({ length: of.length / width }, (_, q) => {
  let found = 0;
  for (let at = q * width; at < (q + 1) * width; at += step) {
    for (let i = at; i < at + k; i++) found += of[i] >= 0 && of[i] < r * k;
  }
  return (found * step) / (width * k);
});

// What is to be known of recall with r * K candidates, from the ranks at one nprobe, for `foretold` in Python and in
// lab-advice.js: [recall, half of its 95 % interval, changes]. A change is that of the share of the k nearest that are found
// among r * k, from a part of the rows to all, for k from 1 to NEAR: [in log-odds, half of its 95 % interval].
export const learnt = (all, near, r) => [...averaged(shares(all, K, K, K, r)), Array.from({ length: NEAR }, (_, i) => {
  const [mine, parts] = [shares(all, K, K, i + 1, r), shares(near, PARTS * NEAR, NEAR, i + 1, r)];
  return [odds(averaged(mine)[0]) - odds(averaged(parts)[0]), averaged(mine.map((share, q) => share - parts[q]))[1]];
})];

// The mean of numbers, and half of its 95 % interval; what none of n shows may still hold for 3 / n.
const averaged = (values) => {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / Math.max(1, values.length - 1);
  return [mean, Math.max(3 / values.length, 1.96 * Math.sqrt(variance / values.length))];
};
