// The work of the Lab, off the page's own thread. It is sent { file, metric } and posts what it does and finds, as it comes:
// { doing, share, left }, { summary }, { coarse }, { code }, and { done } or { failure }. Rows are drawn from the file by
// slices; nothing leaves this computer.
import { inBlocks, kmeans, random, sample } from "./engine-train.js";
import { take, turn, unit } from "./engine.js";
import { audit, inSight, learnt, NPROBES, ranks, truths, visits } from "./lab-measure.js";
import { DIM, principal } from "./lab-pca.js";
import { fixed } from "./numbers.js";
import { drawn, open } from "./vectors.js";

const [BASE, QUERIES, NUMBERS] = [20_000, 500, 32_000_000]; // rows, at most, and numbers in them
const LEAST = 1000; // rows, or brute force will do
const BYTES = [8, 16, 32, 64, 128]; // of codes
const RERANKS = [1, 2, 3, 5, 10, 20, 50];
const SEED = 1;

// What is measured of d dimensions: 8 and 4 bits in each number of bytes, after PCA to four components a byte.
const grid = (d) => BYTES.filter((size) => size === BYTES[0] || size <= d / 2).flatMap((size) =>
  [[size, 8], [2 * size, 4]].filter(([m]) => m <= d).map(([m, nbits]) => ({
    size: Math.ceil((m * nbits) / 8), m, nbits, dim: Math.floor(Math.min(d, 256, Math.max(m, 4 * size)) / m) * m,
  })),
);

// Every 100 ms the worker looks up from its work, and ends where it is to end: a browser would give it two seconds more.
const { port1, port2 } = new MessageChannel();
let heard = performance.now();
const pause = () => performance.now() - heard < 100 ? undefined : new Promise((resolve) => {
  port1.onmessage = () => resolve(heard = performance.now());
  port2.postMessage(null);
});

// Tells how far the work is, and pauses; each part of it has a cost that is known before, in multiplications.
const clock = (costs) => {
  const all = Object.values(costs).reduce((a, b) => a + b, 0);
  const start = performance.now();
  let [done, told] = [0, 0];
  return {
    part: (doing, name) => {
      const before = done;
      const tell = (share) => {
        const now = performance.now();
        if (share && now - told < 100) return pause();
        told = now;
        const whole = (before + costs[name] * share) / all;
        postMessage({ doing, share: whole, left: whole > 0.02 ? ((now - start) / 1000) * (1 / whole - 1) : null });
        return pause();
      };
      done += costs[name];
      tell(0);
      return tell;
    },
  };
};

const work = async ({ file, metric }) => {
  postMessage({ doing: `Reading ${file.name}`, share: 0, left: null });
  const source = await open(file);
  const { d } = source;
  const wanted = Math.min(BASE + QUERIES, Math.floor(NUMBERS / d));
  const ids = drawn(source.n, wanted, random(SEED));
  let x = await source.rows(ids);
  const facts = await audit(x, d, pause);
  const chosen = metric ?? (facts.spread < 0.01 * facts.length ? "cosine" : "l2");
  const kept = chosen === "cosine"
    ? facts.kept.filter((i) => x.subarray(i * d, (i + 1) * d).some((value) => value !== 0)) : facts.kept;
  const { name, size, dtype, n } = source;
  postMessage({ summary: { name, size, dtype, n, d, rows: ids.length, metric: chosen, suggested: !metric, ...facts, kept: kept.length } });
  if (kept.length < LEAST) {
    throw new Error(`It has ${fixed(kept.length, 0)} rows to measure on. Below ${fixed(LEAST, 0)} compare each query with all of them.`);
  }
  const order = sample(kept.length, kept.length, SEED);
  x = take(x, d, Array.from(order, (i) => kept[i]));
  if (chosen === "cosine") x = unit(x, d);
  const nq = Math.min(QUERIES, Math.floor(kept.length / 10));
  const rows = { queries: Array.from(order.subarray(0, nq), (i) => ids[kept[i]]), base: Array.from(order.subarray(nq), (i) => ids[kept[i]]) };
  await measure(x.subarray(nq * d), x.subarray(0, nq * d), d, n, chosen, rows);
};

const measure = async (xb, xq, d, n, metric, rows) => {
  const [count, nq] = [xb.length / d, xq.length / d];
  const cells = Math.max(16, Math.min(256, Math.round(Math.sqrt(n)), Math.floor(count / 39)));
  const nprobes = NPROBES.filter((nprobe) => nprobe < cells).concat(cells);
  const codes = grid(d);
  const dims = Math.min(d, DIM);
  const trained = Math.max(1000, Math.min(10_000, Math.floor(1.6e10 / d ** 2)));
  const costs = {
    truth: nq * count * dims, turn: count * d * dims, cells: 9 * cells * count * dims,
    pca: (trained * d * d) / 2 + (d > DIM ? 5 * d * d * dims + 4 * d * dims ** 2 : 0) + 10 * dims ** 3,
  };
  for (const { m, nbits, dim } of codes) {
    costs[`${m},${nbits}`] = cells * count * dim + (10_000 * 8 + count) * 2 ** nbits * dim * 1.5 + 2 * nq * count * (m + 10);
  }
  const watch = clock(costs);
  const pca = await principal(xb.subarray(0, trained * d), d, random(SEED), watch.part("Finding the principal axes", "pca"));
  const yb = new Float32Array(count * dims);
  await inBlocks(count, d * dims, watch.part("Turning to the principal axes", "turn"), (from, to) => yb.set(turn(xb.subarray(from * d, to * d), pca), from * dims));
  const yq = turn(xq, pca);
  const truth = await truths(xb, xq, d, { yb, yq, dims }, watch.part("Comparing each query with all rows", "truth"));
  const placing = watch.part(`Placing ${cells} cells`, "cells");
  const { centroids } = await kmeans(yb, dims, cells, { niter: 8, seed: SEED, progress: (share) => placing(0.9 * share) });
  const seen = await visits(yb, yq, dims, centroids, (share) => placing(0.9 + 0.1 * share));
  postMessage({ coarse: { cells, nprobes, inside: inSight(seen, truth.all, nprobes), nq, count, d, n, metric, rows } });
  const data = { yb, yq, dims, variances: pca.variances, centroids, truth };
  for (const code of codes) {
    const tell = watch.part(`Codes of ${code.size} bytes, ${code.nbits} bits each`, `${code.m},${code.nbits}`);
    const { all, near } = await ranks(data, code, nprobes, tell);
    postMessage({ code: { ...code, found: nprobes.map((_, p) => RERANKS.map((r) => learnt(all[p], near[p], r))), reranks: RERANKS } });
  }
  postMessage({ done: true });
};

onmessage = ({ data }) => work(data).catch(({ message }) => postMessage({ failure: message }));
