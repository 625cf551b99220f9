// Principal components in the page, and how mlpq deals them out to sub-vectors.
import { multiply } from "./engine.js";
import { inBlocks } from "./engine-train.js";

export const DIM = 256; // axes, at most
const [STRIP, PANEL] = [256, 64]; // rows, and columns of the covariance, that meet at a time

export const dot = (x, i, y, j, d) => {
  let sum = 0;
  for (let a = i * d, b = j * d, end = a + d; a < end; a++, b++) sum += x[a] * y[b];
  return sum;
};

const identity = (n, rows = n) => Float64Array.from({ length: rows * n }, (_, at) => Number(at % (n + 1) === 0 && at < n * n));

// Symmetric a (n, n) as q^T t q, with a t that has a diagonal and what stands beside it; a is written over (Householder 1958).
const tridiagonal = (a, n) => {
  const [q, v, w] = [identity(n), new Float64Array(n), new Float64Array(n)];
  const along = (m, from, scale) => { // w: scale v^T m
    w.fill(0);
    for (let i = from; i < n; i++) for (let j = 0, at = i * n, part = scale * v[i]; j < n; j++, at++) w[j] += part * m[at];
  };
  for (let k = 0; k < n - 2; k++) {
    for (let i = 0; i < n; i++) v[i] = i > k ? a[k * n + i] : 0;
    const norm = Math.sqrt(dot(v, 0, v, 0, n));
    if (norm === 0) continue;
    v[k + 1] += v[k + 1] > 0 ? norm : -norm;
    const scale = 2 / dot(v, 0, v, 0, n);
    along(q, k + 1, scale);
    for (let i = k + 1; i < n; i++) for (let j = 0, at = i * n; j < n; j++, at++) q[at] -= v[i] * w[j];
    along(a, k + 1, scale);
    const half = (scale / 2) * dot(v, 0, w, 0, n);
    for (let j = k; j < n; j++) w[j] -= half * v[j];
    for (let i = k; i < n; i++) for (let j = k, at = i * n + k; j < n; j++, at++) a[at] -= v[i] * w[j] + w[i] * v[j];
  }
  return { q, diagonal: Float64Array.from(v, (_, i) => a[i * n + i]), side: Float64Array.from(v, (_, i) => a[i * n + i + 1] ?? 0) };
};

// Turns t's sides to zero, from `first` to `last`, once: rows of q turn with it (QL with implicit shifts: Wilkinson 1968).
const sweep = ({ q, diagonal, side }, n, first, last) => {
  const g = (diagonal[first + 1] - diagonal[first]) / (2 * side[first]);
  let rest = diagonal[last] - diagonal[first] + side[first] / (g + Math.sign(g || 1) * Math.hypot(g, 1));
  let [s, c, p] = [1, 1, 0];
  for (let i = last - 1; i >= first; i--) {
    const [f, b] = [s * side[i], c * side[i]];
    const r = Math.hypot(f, rest);
    side[i + 1] = r;
    if (r === 0) {
      diagonal[i + 1] -= p;
      side[last] = 0;
      return;
    }
    [s, c] = [f / r, rest / r];
    const t = (diagonal[i] - diagonal[i + 1] + p) * s + 2 * c * b;
    diagonal[i + 1] += s * t - p;
    p = s * t;
    rest = c * t - b;
    for (let k = 0, x = i * n, y = x + n; k < n; k++, x++, y++) {
      const below = q[y];
      q[y] = s * q[x] + c * below;
      q[x] = c * q[x] - s * below;
    }
  }
  diagonal[first] -= p;
  side[first] = rest;
  side[last] = 0;
};

// Symmetric a (n, n), which is written over: eigenvalues, largest first, and eigenvectors in the rows of (n, n).
const eigen = async (a, n, progress) => {
  const t = tridiagonal(a, n);
  const { q, diagonal, side } = t;
  const small = (i) => Math.abs(side[i]) <= Number.EPSILON * (Math.abs(diagonal[i]) + Math.abs(diagonal[i + 1]));
  for (let first = 0; first < n; first++) {
    for (;;) {
      let last = first;
      while (last < n - 1 && !small(last)) last++;
      if (last === first) break;
      sweep(t, n, first, last);
    }
    await progress(first / n);
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => diagonal[j] - diagonal[i]);
  const vectors = new Float64Array(n * n);
  order.forEach((from, to) => vectors.set(q.subarray(from * n, (from + 1) * n), to * n));
  return { values: order.map((i) => diagonal[i]), vectors };
};

const padded = (d) => 4 * Math.ceil(d / 4); // rows that `multiply` takes as columns

// The sums of products of centred rows, (d, d): some rows at a time turned over, against some of their columns, of which those
// left of the diagonal mirror the others.
const covariance = async (x, d, mean, progress) => {
  const [n, sums, over, zero] = [x.length / d, new Float64Array(padded(d) * d), new Float64Array(d * STRIP), new Float64Array(STRIP)];
  for (let first = 0; first < n; first += STRIP) {
    over.fill(0);
    for (let i = 0; i < STRIP && first + i < n; i++) for (let j = 0; j < d; j++) over[j * STRIP + i] = x[(first + i) * d + j] - mean[j];
    for (let left = 0; left < d; left += PANEL) {
      const right = Math.min(d, left + PANEL);
      const columns = new Float64Array(STRIP * (right - left));
      for (let j = left, at = 0; j < right; j++, at++) for (let i = 0; i < STRIP; i++) columns[i * (right - left) + at] = over[j * STRIP + i];
      multiply(over.subarray(0, right * STRIP), { columns, k: right - left, mean: zero }, (i, found, at) => {
        for (let j = left; j < right; j++) sums[i * d + j] += found[at + j - left];
      });
      await progress((first + (STRIP * left) / d) / n);
    }
  }
  for (let i = 0; i < d; i++) for (let j = 0; j < i; j++) sums[i * d + j] = sums[j * d + i];
  return sums;
};

// Each of some rows times columns (d, k).
const product = async (rows, d, columns, k, progress) => {
  const [n, zero] = [rows.length / d, new Float64Array(d)];
  const out = new Float64Array(padded(n) * k);
  await inBlocks(n, d * k, progress, (from, to) => {
    multiply(rows.subarray(from * d, to * d), { columns, k, mean: zero }, (i, sums, at) => out.set(sums.subarray(at, at + k), (from + i) * k));
  });
  return out;
};

// Makes n rows of d numbers orthonormal, one after the other.
const orthonormal = async (rows, n, d, progress) => {
  for (let i = 0; i < n; i++) {
    for (let round = 0; round < 2; round++) { // the second removes what rounding left
      for (let u = 0; u < i; u++) {
        const part = dot(rows, u, rows, i, d);
        for (let j = 0, a = i * d, b = u * d; j < d; j++, a++, b++) rows[a] -= part * rows[b];
      }
    }
    const length = Math.sqrt(dot(rows, i, rows, i, d)) || 1;
    for (let at = i * d; at < (i + 1) * d; at++) rows[at] /= length;
    await progress(i / n);
  }
};

// Directions in which rows with these sums of products (d, d) vary: all where d is at most DIM; else DIM by subspace iteration,
// of which four rounds leave the order of the small ones open. Orthonormal rows.
const directions = async (c, d, draw, progress) => {
  if (d <= DIM) return identity(d, padded(d));
  let basis = Float64Array.from({ length: DIM * d }, () => draw() - 0.5);
  for (let round = 0; round < 4; round++) {
    const part = (from) => (share) => progress((round + from + share / 2) / 4);
    basis = await product(basis, d, c, d, part(0));
    await orthonormal(basis, DIM, d, part(0.5));
  }
  return basis;
};

// The principal axes of rows, at most DIM of them, largest variance first: { mean (d), axes (d, dims), variances }.
export const principal = async (x, d, draw, progress) => {
  const [rows, dim] = [x.length / d, Math.min(d, DIM)];
  const mean = new Float64Array(d);
  for (let at = 0; at < x.length; ) for (let j = 0; j < d; j++, at++) mean[j] += x[at] / rows;
  const c = await covariance(x, d, mean, (share) => progress(0.4 * share));
  const basis = await directions(c, d, draw, (share) => progress(0.4 + 0.4 * share));
  const image = await product(basis.subarray(0, dim * d), d, c, d, progress.bind(null, 0.8));
  const small = new Float64Array(dim * dim);
  for (let i = 0; i < dim; i++) for (let j = 0; j < dim; j++) small[i * dim + j] = dot(basis, i, image, j, d);
  const { values, vectors } = await eigen(small, dim, (share) => progress(0.8 + 0.2 * share));
  const turned = await product(vectors, dim, basis, d, progress.bind(null, 1));
  const axes = new Float32Array(d * dim);
  for (let i = 0; i < dim; i++) for (let j = 0; j < d; j++) axes[j * dim + i] = turned[i * d + j];
  return { mean: Float32Array.from(mean), axes, variances: values.map((value) => value / rows) };
};

// The order of components, descending in variance, whose m equal parts have similar products: as mlpq deals them out.
export const deal = (variances, m) => {
  const parts = Array.from({ length: m }, () => ({ places: [], log: 0 }));
  const room = variances.length / m;
  const floor = Math.max(variances.at(-1), 1e-9 * variances[0], 1e-30);
  variances.forEach((variance, place) => {
    const part = parts.filter(({ places }) => places.length < room).reduce((a, b) => (b.log < a.log ? b : a));
    part.places.push(place);
    part.log += Math.log(Math.max(variance / floor, 1));
  });
  return parts.flatMap(({ places }) => places);
};
