// One query against all codes: the sum of its table's entries for each, and the K smallest sums.
// Before this text stand the constants N, WORDS (of 32 bits, a code), NBITS, ENTRIES (words of the table), SAMPLE, K, ROOM.
struct Found { bound: u32, count: atomic<u32>, pairs: array<vec2u, ROOM> };

@group(0) @binding(0) var<storage, read> codes: array<u32>;    // word w of code i at w * N + i: neighbours read neighbours
@group(0) @binding(1) var<storage, read> entries: array<u32>;  // the table, four bytes a word
@group(0) @binding(2) var<storage, read_write> sums: array<u32, SAMPLE>;
@group(0) @binding(3) var<storage, read_write> found: Found;

var<workgroup> table: array<u32, ENTRIES>;  // shared by the 256 threads of a group
var<workgroup> below: atomic<u32>;

fn fetch(thread: u32) {
  for (var i = thread; i < ENTRIES; i += 256u) { table[i] = entries[i]; }
  workgroupBarrier();
}

fn sum(i: u32) -> u32 {
  var total = 0u;
  var place = 0u;
  for (var w = 0u; w < WORDS; w++) {
    var word = codes[w * N + i];
    for (var c = 0u; c < 32u / NBITS; c++) {
      let at = (place << NBITS) + (word & ((1u << NBITS) - 1u));
      total += (table[at >> 2u] >> (8u * (at & 3u))) & 255u;
      word >>= NBITS;
      place++;
    }
  }
  return total;
}

// First, the sums of a sample ...
@compute @workgroup_size(256)
fn look(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  fetch(thread);
  if (id.x < SAMPLE) { sums[id.x] = sum(id.x); }
}

// ... and its K-th smallest, bit by bit: the largest bound with fewer than K sums below it.
@compute @workgroup_size(256)
fn choose(@builtin(local_invocation_index) thread: u32) {
  var bound = 0u;
  for (var bit = 16u; bit > 0u; bit--) {
    if (thread == 0u) { atomicStore(&below, 0u); }
    workgroupBarrier();
    let trial = bound | (1u << (bit - 1u));
    var mine = 0u;
    for (var i = thread; i < SAMPLE; i += 256u) { mine += select(0u, 1u, sums[i] < trial); }
    atomicAdd(&below, mine);
    workgroupBarrier();
    if (atomicLoad(&below) < K) { bound = trial; }
    workgroupBarrier();
  }
  if (thread == 0u) {
    found.bound = bound;
    atomicStore(&found.count, 0u);
  }
}

// Then all codes. No more than the sample's K-th smallest sum: that may be one of the K smallest of all, and is kept.
@compute @workgroup_size(256)
fn scan(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) thread: u32,
        @builtin(num_workgroups) groups: vec3u) {
  fetch(thread);
  let bound = found.bound;
  for (var i = id.x; i < N; i += 256u * groups.x) {
    let total = sum(i);
    if (total <= bound) {
      let at = atomicAdd(&found.count, 1u);
      if (at < ROOM) { found.pairs[at] = vec2u(total, i); }
    }
  }
}
