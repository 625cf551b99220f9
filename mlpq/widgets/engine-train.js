// Learning in the page: k-means as Faiss does it, and the codebooks of a product quantizer. The same seed gives the same result.
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

// Lloyd's k-means from k rows drawn at random, on at most 256 rows for each centroid, as Faiss does it (Lloyd 1982).
// Returns centroids (k, d), and the sum of squared distances that each iteration began with.
export const kmeans = (x, d, k, { niter = 20, seed = 0 } = {}) => {
  const all = checked(x, d);
  whole(k, "k", 1);
  if (k > all) refuse(`x must hold at least as many rows as clusters (${k}); got ${all}`);
  const rows = take(x, d, sample(all, 256 * k, seed));
  const n = rows.length / d;
  const draw = random(seed + 1);
  let centroids = rows.slice(0, k * d);
  const inertia = [];
  for (let iteration = 0; iteration < niter && n > k; iteration++) {
    const { labels, distances } = assign(rows, d, centroids);
    const [sums, sizes] = [new Float64Array(k * d), new Int32Array(k)];
    labels.forEach((c, i) => {
      sizes[c]++;
      for (let j = 0; j < d; j++) sums[c * d + j] += rows[i * d + j];
    });
    centroids = Float32Array.from(sums, (sum, at) => sum / (sizes[Math.floor(at / d)] || 1));
    split(centroids, d, sizes, n, draw);
    inertia.push(distances.reduce((sum, distance) => sum + distance, 0));
  }
  return { centroids, inertia };
};

// Learns the codebooks by k-means in each sub-space.
export const train = (x, d, m, nbits, { niter = 25, seed = 0 } = {}) => {
  const pq = quantizer(d, m, nbits);
  const numbers = sample(checked(x, d), 256 * pq.ksub, seed);
  if (numbers.length < pq.ksub) refuse(`x must hold at least 2^nbits = ${pq.ksub} rows; got ${numbers.length}`);
  pq.codebooks = new Float32Array(pq.ksub * d);
  for (let j = 0; j < m; j++) {
    const part = take(x, d, numbers, j * pq.dsub, (j + 1) * pq.dsub);
    pq.codebooks.set(kmeans(part, pq.dsub, pq.ksub, { niter, seed }).centroids, j * pq.ksub * pq.dsub);
  }
  return pq;
};
