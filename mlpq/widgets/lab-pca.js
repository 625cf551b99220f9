// Principal components in the page, and how mlpq deals them out to sub-vectors.
export const DIM = 256; // axes, at most

export const dot = (x, i, y, j, d) => {
  let sum = 0;
  for (let a = i * d, b = j * d, end = a + d; a < end; a++, b++) sum += x[a] * y[b];
  return sum;
};

// Symmetric (n, n), by Jacobi's rotations: eigenvalues, largest first, and eigenvectors in the columns of (n, n).
const eigen = (a, n) => {
  const v = new Float64Array(n * n);
  for (let i = 0; i < n; i++) v[i * n + i] = 1;
  const rotate = (m, p, q, c, s) => { // rows p and q
    for (let k = 0, i = p * n, j = q * n; k < n; k++, i++, j++) [m[i], m[j]] = [c * m[i] - s * m[j], s * m[i] + c * m[j]];
  };
  const whole = a.reduce((sum, value) => sum + value * value, 0);
  for (let sweep = 0; sweep < 12; sweep++) {
    let off = 0;
    for (let p = 0; p < n - 1; p++) {
      for (let q = p + 1; q < n; q++) {
        const value = a[p * n + q];
        off += value * value;
        if (value * value < 1e-22 * whole / n) continue;
        const theta = (a[q * n + q] - a[p * n + p]) / (2 * value);
        const t = Math.sign(theta || 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const c = 1 / Math.sqrt(t * t + 1);
        rotate(a, p, q, c, t * c);
        for (let k = 0, i = p, j = q; k < n; k++, i += n, j += n) [a[i], a[j]] = [c * a[i] - t * c * a[j], t * c * a[i] + c * a[j]];
        rotate(v, p, q, c, t * c);
      }
    }
    if (off < 1e-16 * whole) break;
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => a[j * n + j] - a[i * n + i]);
  return { values: order.map((i) => a[i * n + i]), vectors: order.map((i) => v.subarray(i * n, (i + 1) * n)) };
};

// The covariance of centred rows, (d, d).
const covariance = (x, d, mean) => {
  const sums = new Float64Array(d * d);
  const row = new Float64Array(d);
  for (let at = 0; at < x.length; at += d) {
    for (let j = 0; j < d; j++) row[j] = x[at + j] - mean[j];
    for (let i = 0; i < d; i++) {
      const value = row[i];
      if (value !== 0) for (let j = i, to = i * d + i; j < d; j++, to++) sums[to] += value * row[j];
    }
  }
  for (let i = 0; i < d; i++) for (let j = 0; j < i; j++) sums[i * d + j] = sums[j * d + i];
  return sums;
};

// c (d, d) times each of some vectors.
const product = (c, d, vectors) => vectors.map((v) => {
  const out = new Float64Array(d);
  for (let i = 0; i < d; i++) out[i] = dot(c, i, v, 0, d);
  return out;
});

const orthonormal = (vectors, d) => {
  vectors.forEach((v, i) => {
    for (let round = 0; round < 2; round++) { // the second removes what rounding left
      for (const u of vectors.slice(0, i)) {
        const part = dot(u, 0, v, 0, d);
        for (let j = 0; j < d; j++) v[j] -= part * u[j];
      }
    }
    const length = Math.sqrt(dot(v, 0, v, 0, d)) || 1;
    for (let j = 0; j < d; j++) v[j] /= length;
  });
  return vectors;
};

// The principal axes of rows, at most DIM of them, largest variance first: { mean (d), axes (d, dims), variances }.
// Up to DIM dimensions they are exact; beyond, by subspace iteration, of which four rounds leave the order of the small ones open.
export const principal = (x, d, draw, progress) => {
  const rows = x.length / d;
  const mean = new Float64Array(d);
  for (let i = 0; i < x.length; i++) mean[i % d] += x[i] / rows;
  const c = covariance(x, d, mean);
  progress(0.3);
  const dim = Math.min(d, DIM);
  let basis = Array.from({ length: dim }, (_, i) => Float64Array.from({ length: d }, (_, j) => (d > DIM ? draw() - 0.5 : Number(i === j))));
  for (let round = 0; round < (d > DIM ? 4 : 0); round++) {
    basis = orthonormal(product(c, d, basis), d);
    progress(0.3 + 0.15 * round);
  }
  const image = product(c, d, basis);
  const small = new Float64Array(dim * dim);
  for (let i = 0; i < dim; i++) for (let j = 0; j < dim; j++) small[i * dim + j] = dot(basis[i], 0, image[j], 0, d);
  const { values, vectors } = eigen(small, dim);
  const axes = new Float32Array(d * dim);
  vectors.forEach((v, c) => { for (let j = 0; j < d; j++) axes[j * dim + c] = basis.reduce((sum, b, i) => sum + v[i] * b[j], 0); });
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
