// Product quantization in the page: codes, distance tables, cells, reranking, recall; `engine-train.js` learns codebooks and
// cells. No library, no DOM: it runs in a page, and in a worker. Vectors are rows of d numbers, one after the other in a typed
// array; x holds n = x.length / d of them. Sums are those of numbers of 64 bits, results are stored in 32 where Python stores
// float32. Of what is equally near the smaller number comes first. Bad input is a RangeError that says what is wrong.
//
//   const pq = await train(x, d, 8, 8);                 codebooks for 8 sub-vectors of 8 bits
//   const { centroids } = await kmeans(x, d, 100);      cells
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

// Rows (k, d) side by side, as columns to multiply by: (d, k) in float64, with rows of zeros where d is no multiple of 4.
export const beside = (rows, d) => {
  const k = rows.length / d;
  const columns = new Float64Array(4 * Math.ceil(d / 4) * k);
  for (let c = 0, from = 0; c < k; c++) for (let j = 0; j < d; j++, from++) columns[j * k + c] = rows[from];
  return columns;
};

// What k columns (d, k) make of each row of x, less the mean: each(i, sums, at) finds the products of row i, on top of `start`
// (k), from `at` in sums. Four rows meet all columns at a time, four dimensions at once, which is what a browser's compiler is
// quick at.
export const multiply = (x, { columns, k, start = new Float64Array(k), mean }, each) => {
  const d = mean.length;
  const [n, wide] = [x.length / d, columns.length / k];
  const [rows, sums] = [new Float64Array(4 * wide), new Float64Array(4 * k)];
  for (let i = 0; i < n; i += 4) {
    const count = Math.min(4, n - i);
    for (let r = 0, at = i * d; r < count; r++) for (let j = 0; j < d; j++, at++) rows[r * wide + j] = x[at] - mean[j];
    for (let r = 0; r < 4; r++) sums.set(start, r * k);
    for (let j = 0; j < wide; j += 4) addFour(rows, wide, j, columns, k, sums);
    for (let r = 0; r < count; r++) each(i + r, sums, r * k);
  }
};
const addFour = (rows, wide, j, columns, k, sums) => { // written out: what takes an array apart is slow here
  const [a, b, c, e] = [j, j + wide, j + 2 * wide, j + 3 * wide];
  const [a0, a1, a2, a3] = [rows[a], rows[a + 1], rows[a + 2], rows[a + 3]];
  const [b0, b1, b2, b3] = [rows[b], rows[b + 1], rows[b + 2], rows[b + 3]];
  const [c0, c1, c2, c3] = [rows[c], rows[c + 1], rows[c + 2], rows[c + 3]];
  const [e0, e1, e2, e3] = [rows[e], rows[e + 1], rows[e + 2], rows[e + 3]];
  for (let to = 0, at = j * k; to < k; to++, at++) {
    const y0 = columns[at];
    const y1 = columns[at + k];
    const y2 = columns[at + 2 * k];
    const y3 = columns[at + 3 * k];
    sums[to] += a0 * y0 + a1 * y1 + a2 * y2 + a3 * y3;
    sums[to + k] += b0 * y0 + b1 * y1 + b2 * y2 + b3 * y3;
    sums[to + 2 * k] += c0 * y0 + c1 * y1 + c2 * y2 + c3 * y3;
    sums[to + 3 * k] += e0 * y0 + e1 * y1 + e2 * y2 + e3 * y3;
  }
};

// On other axes: (x - mean) axes, with axes (d, dim) row by row, which need no copy in float64 where four divide d. And back:
// y axes^T + mean.
export const turn = (x, { mean, axes }) => {
  const [d, dim] = [mean.length, axes.length / mean.length];
  const turned = new Float32Array(checked(x, d) * dim);
  const fits = axes instanceof Float64Array && d % 4 === 0;
  const columns = fits ? axes : new Float64Array(4 * Math.ceil(d / 4) * dim);
  if (!fits) columns.set(axes);
  multiply(x, { columns, k: dim, mean }, (i, sums, at) => turned.set(sums.subarray(at, at + dim), i * dim));
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

// The nearest of k centroids for each row of x: labels, and squared distances. Nearest is where x c - |c|^2 / 2 is largest, which is
// taken about the mean of the centroids: where all are nearly equal, their differences keep their digits.
export const assign = (x, d, centroids) => {
  const [n, k] = [x.length / d, centroids.length / d];
  const [labels, distances] = [new Int32Array(n), new Float64Array(n)];
  const mean = new Float64Array(d);
  for (let at = 0; at < k * d; at++) mean[at % d] += centroids[at] / k;
  const moved = Float64Array.from(centroids, (value, at) => value - mean[at % d]);
  const zero = new Float64Array(d);
  const start = Float64Array.from({ length: k }, (_, c) => -squared(moved, c, zero, 0, d) / 2);
  multiply(x, { columns: beside(moved, d), k, start, mean }, (i, sums, at) => {
    let best = at;
    for (let c = at + 1; c < at + k; c++) if (sums[c] > sums[best]) best = c;
    labels[i] = best - at;
    distances[i] = squared(x, i, centroids, best - at, d);
  });
  return { labels, distances };
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
    for (let i = 0; i < n; i++) codes[i * pq.m + j] = labels[i];
  }
  return codes;
};
export const decode = ({ m, ksub, dsub, codebooks }, codes) => {
  const x = new Float32Array(codes.length * dsub);
  for (let at = 0, to = 0; at < codes.length; at++) {
    const start = ((at % m) * ksub + codes[at]) * dsub;
    for (let j = start; j < start + dsub; j++, to++) x[to] = codebooks[j];
  }
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
