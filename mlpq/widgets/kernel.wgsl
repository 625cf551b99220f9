// One query against all codes: the sum of its table's entries for each, and the K smallest sums.
// Before this text stand the constants N, WORDS (of 32 bits, a code), NBITS, ENTRIES (words of the table), K, FEW, ROOM.
struct Found {
  bound: u32, count: atomic<u32>, last: u32,  // how many sums were not above the bound, now and in the pass before
  best: array<vec2u, K>, pairs: array<vec2u, ROOM>,  // (sum, id)
};

@group(0) @binding(0) var<storage, read> codes: array<u32>;    // word w of code i at w * N + i: neighbours read neighbours
@group(0) @binding(1) var<storage, read> entries: array<u32>;  // the table, four bytes a word
@group(0) @binding(2) var<storage, read_write> found: Found;
@group(0) @binding(3) var<storage, read_write> other: array<u32>;

var<workgroup> table: array<u32, ENTRIES>;  // shared by the 256 threads of a group
var<workgroup> near: array<vec2u, ROOM>;

override COUNT = N;  // of the codes that a pass scans

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

// Keep the sums of the first COUNT codes that are not above the bound. A FEW are all kept, for the first bound.
@compute @workgroup_size(256)
fn scan(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) thread: u32,
        @builtin(num_workgroups) groups: vec3u) {
  for (var i = thread; i < ENTRIES; i += 256u) { table[i] = entries[i]; }
  workgroupBarrier();
  let bound = select(found.bound, 0xffffffffu, COUNT <= FEW);
  for (var i = id.x; i < COUNT; i += 256u * groups.x) {
    let total = sum(i);
    if (total <= bound) {
      let at = atomicAdd(&found.count, 1u);
      if (at < ROOM) { found.pairs[at] = vec2u(total, i); }
    }
  }
}

// Put the K best of what was kept in order, and lower the bound to the K-th. Each thread counts how many come before its own.
@compute @workgroup_size(256)
fn choose(@builtin(local_invocation_index) thread: u32) {
  let count = min(atomicLoad(&found.count), ROOM);
  for (var i = thread; i < count; i += 256u) { near[i] = found.pairs[i]; }
  workgroupBarrier();
  if (thread == 0u) { found.last = atomicExchange(&found.count, 0u); }
  for (var i = thread; i < count; i += 256u) {
    let own = near[i];
    var before = 0u;
    for (var j = 0u; j < count; j++) {
      let one = near[j];
      before += select(0u, 1u, one.x < own.x || (one.x == own.x && one.y < own.y));
    }
    if (before < K) { found.best[before] = own; }
    if (before == K - 1u) { found.bound = own.x; }
  }
}

// What a scan is measured by: as many bytes read, and written.
@compute @workgroup_size(256)
fn copy(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  for (var i = id.x; i < N * WORDS; i += 256u * groups.x) { other[i] = codes[i]; }
}
