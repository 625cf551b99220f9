// A file of vectors: what it is, told by its name, header and size; and some of its rows, read by slices of the file. The
// rest of it is not read, so that its size does not matter. Errors say what to do.

import { fixed } from "./numbers.js";

// The float64 value of a half-precision number.
const half = (bits) => {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
};

const TYPES = {
  float16: { size: 2, values: (buffer) => Float32Array.from(new Uint16Array(buffer), half) },
  float32: { size: 4, values: (buffer) => new Float32Array(buffer) },
  float64: { size: 8, values: (buffer) => Float32Array.from(new Float64Array(buffer)) },
  int8: { size: 1, values: (buffer) => Float32Array.from(new Int8Array(buffer)) },
  uint8: { size: 1, values: (buffer) => Float32Array.from(new Uint8Array(buffer)) },
};
const NUMPY = { "<f2": "float16", "<f4": "float32", "<f8": "float64", "|i1": "int8", "|u1": "uint8" };
const VECS = { fvecs: "float32", bvecs: "uint8" };
const BINS = { fbin: "float32", u8bin: "uint8", i8bin: "int8" };
const [GAP, PIECE, SLICES] = [1 << 15, 1 << 23, 64]; // rows as near as GAP bytes are one slice; so many slices, of PIECE bytes, one reading
const LONGEST = 4096; // numbers in a vector

const buffer = (file, from, to) => file.slice(from, to).arrayBuffer();

// What the header of a .npy says: { dtype, n, d, offset }.
const npy = async (file) => {
  const start = new DataView(await buffer(file, 0, 12));
  if (start.byteLength < 12 || start.getUint32(0) !== 0x934e554d || start.getUint16(4) !== 0x5059) {
    throw new Error("It does not begin as a .npy file does. Save it with np.save(\"vectors.npy\", x).");
  }
  const old = start.getUint8(6) === 1; // the version says how long the length of the header is
  const offset = old ? 10 + start.getUint16(8, true) : 12 + start.getUint32(8, true);
  const header = new TextDecoder("latin1").decode(await buffer(file, old ? 10 : 12, Math.min(offset, 1 << 16)));
  const [, descr] = header.match(/'descr': *'([^']*)'/) ?? [];
  const [, shape] = header.match(/'shape': *\(([\d, ]*)\)/) ?? [];
  if (shape === undefined) throw new Error("Its header cannot be read: it may hold records. Save a matrix with np.save.");
  const sizes = shape.split(",").filter((part) => part.trim()).map(Number);
  if (sizes.length !== 2) {
    throw new Error(`It holds an array of shape (${sizes.join(", ")}), not a matrix: one row for each vector is needed.`);
  }
  if (!NUMPY[descr]) {
    throw new Error(`Its numbers are of type ${descr ?? "record"}; float16, float32, float64, int8 and uint8 are read here. `
      + "Save x.astype(np.float32) instead.");
  }
  if (/'fortran_order': *True/.test(header)) {
    throw new Error("It is stored column by column. Save np.ascontiguousarray(x) instead.");
  }
  return { dtype: NUMPY[descr], n: sizes[0], d: sizes[1], offset };
};

// In .fvecs and .bvecs each vector stands after its dimension, an int32.
const vecs = async (file, dtype) => {
  const start = new DataView(await buffer(file, 0, 4));
  const d = start.byteLength < 4 ? 0 : start.getInt32(0, true);
  const width = 4 + d * TYPES[dtype].size;
  if (d < 1 || file.size % width) {
    throw new Error(`Its size, ${fixed(file.size, 0)} bytes, is no multiple of a vector's of ${d} numbers: it is cut off, or of `
      + "another format.");
  }
  return { dtype, n: file.size / width, d, offset: 4, width };
};

// In .fbin, .u8bin and .i8bin the numbers of vectors and of dimensions, as uint32, stand before all.
const bins = async (file, dtype) => {
  const start = new DataView(await buffer(file, 0, 8));
  if (start.byteLength < 8) throw new Error("It is shorter than its two sizes.");
  return { dtype, n: start.getUint32(0, true), d: start.getUint32(4, true), offset: 8 };
};

const opener = (name) => {
  const suffix = name.toLowerCase().split(".").pop();
  if (suffix === "npy") return npy;
  if (VECS[suffix]) return (file) => vecs(file, VECS[suffix]);
  if (BINS[suffix]) return (file) => bins(file, BINS[suffix]);
  throw new Error("Its name must end in .npy, .fvecs, .bvecs, .fbin, .u8bin or .i8bin. From Python: np.save(\"vectors.npy\", x).");
};

// Of rows with these numbers, the first and the last of those that are read in one slice.
const stretches = (ids, width) => {
  const found = [];
  ids.forEach((id, i) => {
    const last = found.at(-1);
    const joins = last && (id - ids[i - 1]) * width <= GAP && (id - ids[last[0]] + 1) * width <= PIECE;
    joins ? (last[1] = i) : found.push([i, i]);
  });
  return found;
};

// open(file): { name, size, dtype, n, d, rows }, of a File; await rows(ids) returns the vectors with these numbers, which
// must rise, one after the other in one Float32Array.
export const open = async (file) => {
  const refuse = (words) => {
    throw new Error(`${file.name} cannot be read as vectors. ${words}`);
  };
  const head = async () => opener(file.name)(file);
  const { dtype, n, d, offset, width = d * TYPES[dtype].size } = await head().catch(({ message }) => refuse(message));
  if (n * d === 0) refuse(`It holds ${fixed(n, 0)} vectors of ${d} numbers.`);
  if (d > LONGEST) refuse(`Its vectors have ${fixed(d, 0)} numbers; up to ${fixed(LONGEST, 0)} are taken here.`);
  const [needed, own] = [offset + (n - 1) * width + d * TYPES[dtype].size, d * TYPES[dtype].size];
  if (file.size < needed) {
    refuse(`It should hold ${fixed(n, 0)} vectors of ${d} numbers, ${fixed(needed, 0)} bytes, but has ${fixed(file.size, 0)}: it is cut off.`);
  }
  const rows = async (ids) => {
    const out = new Float32Array(ids.length * d);
    const all = stretches(ids, width);
    const start = (i) => offset + ids[i] * width;
    for (let at = 0; at < all.length; ) {
      const some = [];
      for (let size = 0; at < all.length && some.length < SLICES && size < PIECE; at++) {
        some.push(all[at]);
        size += start(all[at][1]) - start(all[at][0]) + own;
      }
      const piece = await new Blob(some.map(([i, end]) => file.slice(start(i), start(end) + own))).arrayBuffer();
      let from = 0;
      for (const [first, last] of some) {
        for (let i = first; i <= last; i++) {
          const place = from + start(i) - start(first);
          out.set(TYPES[dtype].values(piece.slice(place, place + own)), i * d);
        }
        from += start(last) - start(first) + own;
      }
    }
    return out;
  };
  return { name: file.name, size: file.size, dtype, n, d, rows };
};

// `count` of n row numbers, rising: one drawn from each of as many stretches of equal length. random() is in [0, 1).
export const drawn = (n, count, random) =>
  count >= n
    ? Array.from({ length: n }, (_, i) => i)
    : Array.from({ length: count }, (_, i) => Math.min(n - 1, Math.floor(((i + random()) * n) / count)));
