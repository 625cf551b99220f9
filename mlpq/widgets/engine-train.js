// Learning in the page: k-means as Faiss does it, and the codebooks of a product quantizer. The same seed gives the same result.
// What takes long goes block by block, and waits for `progress(share)` between them: a worker that has a pause there hears that
// it is to end.
import { assign, checked, quantizer, refuse, take, whole } from "./engine.js";

// Random numbers from 0 to below 1, the same for the same seed: steps of 2^32 / golden ratio through the finalizer of
// MurmurHash3. Good enough to choose rows; not for secrets.
export const random = (seed) => {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
  };
};

// Numbers of min(n, size) distinct rows in random order, each choice as likely: the beginning of a shuffle.
export const sample = (n, size, seed) => {
  const draw = random(seed);
  const order = Int32Array.from({ length: n }, (_, i) => i);
  const kept = Math.min(n, size);
  for (let i = 0; i < kept; i++) {
    const j = i + Math.floor(draw() * (n - i));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order.slice(0, kept);
};

// What Faiss does about an empty cluster: a large one, drawn by its size, is split into two that differ by 1/1024.
const split = (centroids, d, sizes, n, draw) => {
  const k = sizes.length;
  for (let c = 0; c < k; c++) {
    if (sizes[c]) continue;
    let from = 0;
    while (draw() >= (sizes[from] - 1) / (n - k)) from = (from + 1) % k;
    for (let j = 0; j < d; j++) {
      const value = centroids[from * d + j];
      const sign = j % 2 ? -1 : 1;
      centroids[c * d + j] = value * (1 + sign / 1024);
      centroids[from * d + j] = value * (1 - sign / 1024);
    }
    sizes[c] = sizes[from] >> 1;
    sizes[from] -= sizes[c];
  }
};

// Rows of a block: so many products with k columns of d numbers take some 20 ms.
const PRODUCTS = 2e7;
// Calls work(from, to) for one block of n rows after the other, each of which has `cost` products a row.
export const inBlocks = async (n, cost, progress, work) => {
  const size = 4 * Math.max(1, Math.floor(PRODUCTS / cost / 4));
  for (let from = 0; from < n; from += size) {
    work(from, Math.min(n, from + size));
    await progress(Math.min(1, (from + size) / n));
  }
};

// The nearest of k centroids for each row, as `assign` finds them.
export const assigned = async (x, d, centroids, progress) => {
  const n = x.length / d;
  const [labels, distances] = [new Int32Array(n), new Float64Array(n)];
  await inBlocks(n, centroids.length, progress, (from, to) => {
    const found = assign(x.subarray(from * d, to * d), d, centroids);
    labels.set(found.labels, from);
    distances.set(found.distances, from);
  });
  return { labels, distances };
};

// The means of the rows with each label, and how many those are.
const means = (rows, d, labels, k) => {
  const [sums, sizes] = [new Float64Array(k * d), new Int32Array(k)];
  for (let i = 0, from = 0; i < labels.length; i++) {
    sizes[labels[i]]++;
    for (let j = 0, at = labels[i] * d; j < d; j++, at++, from++) sums[at] += rows[from];
  }
  return { centroids: Float32Array.from(sums, (sum, at) => sum / (sizes[Math.floor(at / d)] || 1)), sizes };
};

const quiet = () => {};

// Lloyd's k-means from k rows drawn at random, on at most 256 rows for each centroid, as Faiss does it (Lloyd 1982).
// Returns centroids (k, d), and the sum of squared distances that each iteration began with.
export const kmeans = async (x, d, k, { niter = 20, seed = 0, progress = quiet } = {}) => {
  const all = checked(x, d);
  whole(k, "k", 1);
  if (k > all) refuse(`x must hold at least as many rows as clusters (${k}); got ${all}`);
  const rows = take(x, d, sample(all, 256 * k, seed));
  const n = rows.length / d;
  const draw = random(seed + 1);
  let centroids = rows.slice(0, k * d);
  const inertia = [];
  for (let iteration = 0; iteration < niter && n > k; iteration++) {
    const { labels, distances } = await assigned(rows, d, centroids, (share) => progress((iteration + share) / niter));
    const next = means(rows, d, labels, k);
    split(next.centroids, d, next.sizes, n, draw);
    ({ centroids } = next);
    inertia.push(distances.reduce((sum, distance) => sum + distance, 0));
  }
  return { centroids, inertia };
};

// Learns the codebooks by k-means in each sub-space.
export const train = async (x, d, m, nbits, { niter = 25, seed = 0, progress = quiet } = {}) => {
  const pq = quantizer(d, m, nbits);
  const numbers = sample(checked(x, d), 256 * pq.ksub, seed);
  if (numbers.length < pq.ksub) refuse(`x must hold at least 2^nbits = ${pq.ksub} rows; got ${numbers.length}`);
  pq.codebooks = new Float32Array(pq.ksub * d);
  for (let j = 0; j < m; j++) {
    const part = take(x, d, numbers, j * pq.dsub, (j + 1) * pq.dsub);
    const { centroids } = await kmeans(part, pq.dsub, pq.ksub, { niter, seed, progress: (share) => progress((j + share) / m) });
    pq.codebooks.set(centroids, j * pq.ksub * pq.dsub);
  }
  return pq;
};
