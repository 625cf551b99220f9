// The measurement of the explorer Kernel, off the page's own thread: codes from a seed, the scan in JavaScript and on the
// card, copies of as many bytes. It is sent { N, m, nbits, seed, table, shader }, and posts what it does and what it finds.
const [K, FEW, ROOM, HEAD, GROUPS, ENOUGH] = [10, 256, 2048, 16, 1024, 100]; // ENOUGH: ms that a round of a measurement takes

const mix = (x) => {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
};

// Word w of code i stands at w * N + i.
const make = (length, seed) => {
  const codes = new Uint32Array(length);
  for (let i = 0; i < length; i++) codes[i] = mix((i + seed) >>> 0);
  return codes;
};

// The K smallest pairs (sum, id); of equal sums the smaller id first.
const smallest = (pairs) => pairs.sort((a, b) => a[0] - b[0] || a[1] - b[1]).slice(0, K);

const scan = (codes, table, { N, m, nbits }) => {
  const [block, width, perWord] = [4096, 1 << nbits, 32 / nbits];
  const sums = new Uint16Array(block);
  let best = [];
  let bound = Infinity;
  for (let start = 0; start < N; start += block) {
    const length = Math.min(block, N - start);
    sums.fill(0);
    for (let place = 0; place < m; place += perWord) {
      const at = (place / perWord) * N + start;
      const t = table.subarray(place * width, (place + perWord) * width);
      if (nbits === 8) {
        for (let i = 0; i < length; i++) {
          const word = codes[at + i];
          sums[i] += t[word & 255] + t[256 + ((word >>> 8) & 255)] + t[512 + ((word >>> 16) & 255)] + t[768 + (word >>> 24)];
        }
      } else {
        for (let i = 0; i < length; i++) {
          const word = codes[at + i];
          sums[i] += t[word & 15] + t[16 + ((word >>> 4) & 15)] + t[32 + ((word >>> 8) & 15)] + t[48 + ((word >>> 12) & 15)]
            + t[64 + ((word >>> 16) & 15)] + t[80 + ((word >>> 20) & 15)] + t[96 + ((word >>> 24) & 15)] + t[112 + (word >>> 28)];
        }
      }
    }
    for (let i = 0; i < length; i++) {
      if (sums[i] >= bound) continue; // a later id with an equal sum comes after those that are kept
      best.push([sums[i], start + i]);
      if (best.length < 8 * K && best.length >= K && bound < Infinity) continue;
      best = smallest(best);
      if (best.length === K) bound = best[K - 1][0];
    }
  }
  return smallest(best);
};

// How long one run takes, in ms: the best of up to five rounds, each of as many runs as take ENOUGH together.
const timed = async (run) => {
  const round = async (times) => {
    const start = performance.now();
    await run(times);
    return performance.now() - start;
  };
  let best = await round(1);
  for (let spent = 0, rounds = 0; rounds < 5 && spent < 5 * ENOUGH; rounds++) {
    const times = Math.ceil(ENOUGH / Math.max(0.05, best));
    const took = await round(times);
    spent += took;
    best = Math.min(best, took / times);
  }
  return best;
};

const card = async () => {
  if (!navigator.gpu) throw new Error(isSecureContext
    ? "This browser has no WebGPU (in workers, where it is needed here)."
    : "No WebGPU: browsers offer it to pages from https, from this computer or from disk alone.");
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("This browser knows WebGPU, but offers no card to it.");
  const { vendor, architecture, description } = adapter.info;
  const device = await adapter.requestDevice();
  return { device, name: description || `${vendor} ${architecture}`.trim() || "unnamed" };
};

const buffers = (device, codes, { table }) => {
  const usage = { storage: GPUBufferUsage.STORAGE, from: GPUBufferUsage.COPY_SRC, to: GPUBufferUsage.COPY_DST };
  const buffer = (size, ...uses) => device.createBuffer({ size, usage: uses.reduce((all, use) => all | usage[use], 0) });
  const all = [
    buffer(codes.byteLength, "storage", "to"), buffer(table.byteLength, "storage", "to"),
    buffer(HEAD + 8 * (K + ROOM), "storage", "from"), buffer(codes.byteLength, "storage"),
  ];
  device.queue.writeBuffer(all[0], 0, codes);
  device.queue.writeBuffer(all[1], 0, table);
  const read = device.createBuffer({ size: HEAD + 8 * K, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  return { all, read };
};

// A query scans a part of the codes, chooses, and goes on to 16 times as many: what it then keeps are few.
const parts = (N) => (N <= FEW ? [N] : [...parts(Math.ceil(N / 16)), N]);

const programs = (device, { N, m, nbits, shader }, all) => {
  const constants = { N, WORDS: (m * nbits) / 32, NBITS: nbits, ENTRIES: (m << nbits) / 4, K, FEW, ROOM };
  const head = Object.entries(constants).map(([name, value]) => `const ${name} = ${value}u;`).join("\n");
  const module = device.createShaderModule({ code: `${head}\n${shader}` });
  const types = ["read-only-storage", "read-only-storage", "storage", "storage"];
  const layout = device.createBindGroupLayout({
    entries: types.map((type, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } })),
  });
  const group = device.createBindGroup({ layout, entries: all.map((buffer, binding) => ({ binding, resource: { buffer } })) });
  const program = (entryPoint, threads, own) => [device.createComputePipeline({
    layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }), compute: { module, entryPoint, constants: own },
  }), Math.min(GROUPS, Math.ceil(threads / 256))];
  const choose = program("choose", 256);
  const query = parts(N).flatMap((COUNT) => [program("scan", COUNT, { COUNT }), choose]);
  return { group, query, copy: [program("copy", N * constants.WORDS)] };
};

const onCard = async ({ device }, asked, codes, tell) => {
  device.pushErrorScope("out-of-memory");
  device.pushErrorScope("validation");
  const { all, read } = buffers(device, codes, asked);
  const { group, query, copy } = programs(device, asked, all);
  for (const _ of "ab") {
    const error = await device.popErrorScope();
    if (error) throw new Error(`The card refused: ${error.message || "not enough memory"}`);
  }
  const submit = (steps, times, end = () => {}) => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setBindGroup(0, group);
    for (let i = 0; i < times; i++) {
      for (const [pipeline, groups] of steps) {
        pass.setPipeline(pipeline);
        pass.dispatchWorkgroups(groups);
      }
    }
    pass.end();
    end(encoder);
    device.queue.submit([encoder.finish()]);
  };
  const done = (steps) => (times) => {
    submit(steps, times);
    return device.queue.onSubmittedWorkDone();
  };
  const answer = async () => {
    device.queue.writeBuffer(all[1], 0, asked.table);
    submit(query, 1, (encoder) => encoder.copyBufferToBuffer(all[2], 0, read, 0, read.size));
    await read.mapAsync(GPUMapMode.READ);
    const [, , kept, , ...best] = new Uint32Array(read.getMappedRange().slice(0));
    read.unmap();
    if (kept > ROOM) throw new Error(`${kept} codes are as near as the tenth of a part: too many to keep`);
    return Array.from({ length: K }, (_, i) => [best[2 * i], best[2 * i + 1]]);
  };
  tell("Scanning on the card …");
  const found = await answer();
  const once = await timed(async (times) => { while (times--) await answer(); });
  const each = await timed(done(query));
  tell("Copying on the card …");
  return { found, once, scan: each, copy: await timed(done(copy)) };
};

const measure = async (asked, tell) => {
  const { N, m, nbits, seed, table } = asked;
  tell("Making codes …");
  const codes = make((N * m * nbits) / 32, seed);
  tell("Scanning in JavaScript …");
  let found;
  const js = await timed((times) => { while (times--) found = scan(codes, table, asked); });
  const other = new Uint32Array(codes.length);
  const memory = await timed((times) => { while (times--) other.set(codes); });
  const result = { bytes: codes.byteLength, found, js, memory };
  try {
    const one = await card();
    one.device.lost.then(({ reason, message }) => reason === "destroyed" || tell(`The card was lost: ${message}`));
    const there = await onCard(one, asked, codes, tell);
    one.device.destroy();
    return { ...result, adapter: one.name, card: there, same: String(there.found) === String(found) };
  } catch (error) {
    return { ...result, failure: error.message };
  }
};

onmessage = ({ data }) => measure(data, (doing) => postMessage({ doing })).then(
  (result) => postMessage({ result }), (error) => postMessage({ failure: error.message }));
