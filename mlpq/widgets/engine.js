// Product quantization in the page: codes, distance tables, cells, reranking, recall; `engine-train.js` learns codebooks and
// cells. No library, no DOM: it runs in a page, and in a worker. Vectors are rows of d numbers, one after the other in a typed
// array; x holds n = x.length / d of them. Sums are those of numbers of 64 bits, results are stored in 32 where Python stores
// float32. Of what is equally near the smaller number comes first. Bad input is a RangeError that says what is wrong.
//
//   const pq = train(x, d, 8, 8);                       codebooks for 8 sub-vectors of 8 bits
//   const { centroids } = kmeans(x, d, 100);            cells
//   const index = build(x, pq, { centroids });          codes, cell by cell
//   const { ids, distances } = search(index, q, 10, { nprobe: 4 });

export const refuse = (words) => {
  throw new RangeError(words);
};
export const whole = (value, name, least, most = Infinity) => {
  const fits = Number.isInteger(value) && value >= least && value <= most;
  if (!fits) refuse(`${name} must be a whole number from ${least}${most < Infinity ? ` to ${most}` : ""}; got ${value}`);
};

// How many rows of d finite numbers x holds.
export const checked = (x, d, name = "x") => {
  whole(d, "d", 1);
  if (x.length % d) refuse(`${name} must hold rows of ${d} numbers; got ${x.length} numbers`);
  for (let i = 0; i < x.length; i++) {
    if (!Number.isFinite(x[i])) refuse(`${name} must be finite; row ${Math.floor(i / d)} holds ${x[i]}`);
  }
  return x.length / d;
};

// The rows of these numbers; of each, the columns from `from` to `to`.
export const take = (x, d, numbers, from = 0, to = d) => {
  const taken = new Float32Array(numbers.length * (to - from));
  numbers.forEach((row, i) => taken.set(x.subarray(row * d + from, row * d + to), i * (to - from)));
  return taken;
};

// Rows scaled to length 1, for the cosine.
export const unit = (x, d) => {
  const n = checked(x, d);
  const scaled = new Float32Array(x.length);
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (let j = i * d; j < (i + 1) * d; j++) sum += x[j] * x[j];
    if (sum === 0) refuse(`row ${i} is zero, and has no direction`);
    const length = Math.sqrt(sum);
    for (let j = i * d; j < (i + 1) * d; j++) scaled[j] = x[j] / length;
  }
  return scaled;
};

// On other axes: (x - mean) axes, with axes (d, dim) row by row. And back: y axes^T + mean.
export const turn = (x, { mean, axes }) => {
  const [d, dim] = [mean.length, axes.length / mean.length];
  const n = checked(x, d);
  const turned = new Float32Array(n * dim);
  const sums = new Float64Array(dim);
  for (let i = 0; i < n; i++) {
    sums.fill(0);
    for (let j = 0; j < d; j++) {
      const value = x[i * d + j] - mean[j];
      if (value !== 0) for (let c = 0; c < dim; c++) sums[c] += value * axes[j * dim + c];
    }
    turned.set(sums, i * dim);
  }
  return turned;
};
export const turnBack = (y, { mean, axes }) => {
  const [d, dim] = [mean.length, axes.length / mean.length];
  const n = checked(y, dim, "y");
  const x = new Float32Array(n * d);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < d; j++) {
      let sum = mean[j];
      for (let c = 0; c < dim; c++) sum += y[i * dim + c] * axes[j * dim + c];
      x[i * d + j] = sum;
    }
  }
  return x;
};

// The squared distance of row i of x to row c of y; what exceeds `bound` is not summed to its end.
export const squared = (x, i, y, c, d, bound = Infinity) => {
  let sum = 0;
  for (let a = i * d, b = c * d, end = a + d; a < end && sum < bound; a++, b++) {
    const difference = x[a] - y[b];
    sum += difference * difference;
  }
  return sum;
};

// The nearest of k centroids for each row of x: labels, and squared distances. All k are summed side by side, four dimensions
// at a time, which is what a browser's compiler is quick at.
export const assign = (x, d, centroids) => {
  const [n, k, wide] = [x.length / d, centroids.length / d, 4 * Math.ceil(d / 4)];
  const [labels, distances] = [new Int32Array(n), new Float64Array(n)];
  const columns = new Float32Array(wide * k); // zeros where d is no multiple of 4
  centroids.forEach((value, at) => { columns[(at % d) * k + Math.floor(at / d)] = value; });
  const [row, sums] = [new Float64Array(wide), new Float64Array(k)];
  for (let i = 0; i < n; i++) {
    row.set(x.subarray(i * d, (i + 1) * d));
    sums.fill(0);
    for (let j = 0; j < d; j += 4) addFour(row, j, columns, sums);
    let label = 0;
    for (let c = 1; c < k; c++) if (sums[c] < sums[label]) label = c;
    labels[i] = label;
    distances[i] = sums[label];
  }
  return { labels, distances };
};
const addFour = (row, j, columns, sums) => { // written out: what takes an array apart is slow here
  const k = sums.length;
  const x0 = row[j];
  const x1 = row[j + 1];
  const x2 = row[j + 2];
  const x3 = row[j + 3];
  for (let c = 0, at0 = j * k, at1 = at0 + k, at2 = at1 + k, at3 = at2 + k; c < k; c++, at0++, at1++, at2++, at3++) {
    const d0 = x0 - columns[at0];
    const d1 = x1 - columns[at1];
    const d2 = x2 - columns[at2];
    const d3 = x3 - columns[at3];
    sums[c] = sums[c] + d0 * d0 + d1 * d1 + d2 * d2 + d3 * d3;
  }
};

// A product quantizer with these codebooks, (m, 2^nbits, d / m) in one array (Jégou, Douze & Schmid 2011).
export const quantizer = (d, m, nbits, codebooks) => {
  whole(d, "d", 1);
  whole(m, "m", 1);
  whole(nbits, "nbits", 1, 16);
  if (d % m) refuse(`m must divide d; got m = ${m}, d = ${d}`);
  const ksub = 2 ** nbits;
  if (codebooks && codebooks.length !== ksub * d) refuse(`codebooks must hold ${ksub * d} numbers; got ${codebooks.length}`);
  return { d, m, nbits, ksub, dsub: d / m, codebooks };
};

const book = ({ codebooks, ksub, dsub }, j) => codebooks.subarray(j * ksub * dsub, (j + 1) * ksub * dsub);

// Codes (n, m), a number for each sub-vector, not packed into bits; and what they stand for, (n, d).
export const encode = (pq, x) => {
  const n = checked(x, pq.d);
  const codes = pq.nbits > 8 ? new Uint16Array(n * pq.m) : new Uint8Array(n * pq.m);
  const numbers = Int32Array.from({ length: n }, (_, i) => i);
  for (let j = 0; j < pq.m; j++) {
    const { labels } = assign(take(x, pq.d, numbers, j * pq.dsub, (j + 1) * pq.dsub), pq.dsub, book(pq, j));
    labels.forEach((label, i) => { codes[i * pq.m + j] = label; });
  }
  return codes;
};
export const decode = ({ m, ksub, dsub, codebooks }, codes) => {
  const x = new Float32Array(codes.length * dsub);
  codes.forEach((code, at) => {
    const start = ((at % m) * ksub + code) * dsub;
    x.set(codebooks.subarray(start, start + dsub), at * dsub);
  });
  return x;
};

// The squared distance of each of the first m sub-queries to each codeword, (m, ksub): the distance of a query to a code is
// the sum of the m entries that the code selects.
export const table = ({ ksub, dsub, codebooks, ...pq }, q, m = pq.m, entries = new Float64Array(m * ksub)) => {
  for (let i = 0, at = 0; i < m * ksub; i++) {
    const first = Math.floor(i / ksub) * dsub;
    let sum = 0;
    for (let j = first; j < first + dsub; j++, at++) {
      const difference = q[j] - codebooks[at];
      sum += difference * difference;
    }
    entries[i] = sum;
  }
  return entries;
};

// The k smallest distances of those offered, with their numbers; `bound` is the largest of k, or Infinity.
export const smallest = (k) => {
  const [ids, distances] = [[], []];
  const before = (id, distance, i) => distance < distances[i] || (distance === distances[i] && id < ids[i]);
  return {
    ids, distances, bound: Infinity,
    offer(id, distance) {
      if (distance > this.bound || Number.isNaN(distance)) return;
      let i = ids.length;
      while (i && before(id, distance, i - 1)) i--;
      ids.splice(i, 0, id);
      distances.splice(i, 0, distance);
      if (ids.length > k) ids.pop(), distances.pop();
      if (ids.length === k) this.bound = distances[k - 1];
    },
  };
};

// Codes of x, cell by cell: those of cell c stand from starts[c] to starts[c + 1], with the numbers of their rows. With
// `residual`, what is encoded is a vector less the centroid of its cell; without centroids all is one cell.
export const build = (x, pq, { centroids = new Float32Array(pq.d), residual = true } = {}) => {
  const { d } = pq;
  checked(centroids, d, "centroids");
  checked(x, d);
  const { labels } = assign(x, d, centroids);
  const starts = new Int32Array(centroids.length / d + 1);
  for (const c of labels) starts[c + 1]++;
  for (let c = 1; c < starts.length; c++) starts[c] += starts[c - 1];
  const [next, ids] = [starts.slice(), new Int32Array(labels.length)];
  labels.forEach((c, i) => { ids[next[c]++] = i; });
  const rows = take(x, d, ids);
  if (residual) ids.forEach((id, i) => { for (let j = 0; j < d; j++) rows[i * d + j] -= centroids[labels[id] * d + j]; });
  return { pq, centroids, residual, starts, ids, codes: encode(pq, rows) };
};

// The k nearest to q in the nprobe nearest cells, by codes: numbers of rows (of places, where the index holds no ids) with
// squared distances; cells, codes and entries of tables that were read. With m, only the first m sub-codes are used: for
// the rest of a vector stands its centroid, or zero.
export const search = ({ pq, centroids, residual, starts, ids, codes }, q, k, { nprobe = 1, m = pq.m } = {}) => {
  const { d, ksub } = pq;
  if (checked(q, d, "q") !== 1) refuse(`q must be one vector of ${d} numbers; got ${q.length}`);
  whole(k, "k", 1);
  whole(nprobe, "nprobe", 1);
  whole(m, "m", 1, pq.m);
  const cells = exact(centroids, q, d, Math.min(nprobe, starts.length - 1));
  const best = smallest(k);
  const [rest, entries] = [new Float32Array(d), new Float64Array(m * ksub)];
  let [far, scanned, done] = [0, 0, false];
  for (const c of cells) {
    if (residual || !done) {
      for (let j = 0; j < d; j++) rest[j] = residual ? q[j] - centroids[c * d + j] : q[j];
      table(pq, rest, m, entries);
      [far, done] = [0, true];
      for (let j = m * pq.dsub; j < d; j++) far += rest[j] * rest[j];
    }
    for (let place = starts[c]; place < starts[c + 1]; place++) {
      let sum = 0;
      for (let j = 0, at = place * pq.m; j < m; j++) sum += entries[j * ksub + codes[at + j]];
      if (sum + far <= best.bound) best.offer(ids ? ids[place] : place, sum + far);
    }
    scanned += starts[c + 1] - starts[c];
  }
  return { ids: best.ids, distances: best.distances, cells, scanned, reads: scanned * m };
};

// The k nearest to q among some rows of x, by the vectors themselves.
export const rerank = (x, d, q, candidates, k) => {
  const best = smallest(k);
  for (const id of new Set(candidates)) if (id >= 0) best.offer(id, squared(x, id, q, 0, d));
  return { ids: best.ids, distances: best.distances };
};

// The numbers of the k nearest rows of xb for each row of xq, (nq, k), nearest first: the truth that recall is counted by.
export const exact = (xb, xq, d, k) => {
  const [n, nq] = [checked(xb, d, "xb"), checked(xq, d, "xq")];
  whole(k, "k", 1, n);
  const found = new Int32Array(nq * k);
  for (let q = 0; q < nq; q++) {
    const best = smallest(k);
    // A sum that stopped may equal the bound without being the distance, but no later row wins a tie.
    for (let i = 0; i < n; i++) {
      const distance = squared(xb, i, xq, q, d, best.bound);
      if (distance < best.bound) best.offer(i, distance);
    }
    found.set(best.ids, q * k);
  }
  return found;
};

// The share of the true k nearest, (nq, k), that stand among those found, (nq, k); -1 stands for none.
export const recall = (found, truth, k) => {
  whole(k, "k", 1);
  if (!truth.length || found.length !== truth.length) refuse(`found and truth must hold as many ids; got ${found.length} and ${truth.length}`);
  let right = 0;
  for (let start = 0; start < truth.length; start += k) {
    const mine = new Set(found.slice(start, start + k));
    for (const id of truth.slice(start, start + k)) right += id >= 0 && mine.has(id);
  }
  return right / truth.length;
};
