"""Whatever the sizes and the vectors: results are those of slow, plain code in float64."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import mlpq
from tests import reference

Array = npt.NDArray[Any]

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

KINDS = ("spread", "clustered", "far away", "few values", "duplicates", "constant", "one that differs", "tiny", "large")


def vectors(kind: str, n: int, d: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Vectors (n, d) that are easy, or awkward: equal, level, far from the origin, very small or very large."""
    x = rng.standard_normal((n, d))
    if kind == "clustered":
        x = 0.05 * x + 5 * rng.standard_normal((4, d))[rng.integers(0, 4, n)]
    elif kind == "far away":
        x += 300
    elif kind == "few values":
        x = rng.integers(0, 3, (n, d)).astype(float)
    elif kind == "duplicates":
        x = x[rng.integers(0, max(1, n // 8), n)]
    elif kind == "constant":
        x = np.full((n, d), 2.5)
    elif kind == "one that differs":
        x = np.zeros((n, d))
        x[-1] = 1
    elif kind in ("tiny", "large"):
        x *= 1e-8 if kind == "tiny" else 1e8
    return x.astype(np.float32)


class Problem(NamedTuple):
    """An index to be built, and a search."""

    xt: npt.NDArray[np.float32]
    xb: npt.NDArray[np.float32]
    xq: npt.NDArray[np.float32]
    index: dict[str, Any]
    k: int
    search: dict[str, Any]

    def build(self, **options: Any) -> mlpq.MultiLevelPQ:
        index = mlpq.MultiLevelPQ(self.xt.shape[1], niter=4, **(self.index | options)).train(self.xt)
        half = len(self.xb) // 2
        return index.add(self.xb[:half]).add(self.xb[half:]) if half else index.add(self.xb)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    d = draw(st.sampled_from([1, 2, 3, 4, 6, 7, 8, 12, 13, 16, 24, 31]))
    pca_dim = draw(st.none() | st.integers(1, d))
    m = draw(st.sampled_from(mlpq.valid_m(pca_dim or d)))
    nbits, n_inner = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    n_train = max(2**nbits, n_inner) + draw(st.sampled_from([0, 1, 40, 200]))
    kind, rng = draw(st.sampled_from(KINDS)), np.random.default_rng(draw(st.integers(0, 2**16)))
    n = draw(st.sampled_from([1, 2, 30, 150]))
    xt, xb, xq = (vectors(kind, size, d, rng) for size in (n_train, n, draw(st.sampled_from([1, 5, 60]))))
    if draw(st.booleans()):
        xq[: len(xb)] = xb[: len(xq)]
    index = {
        "n_inner": n_inner, "n_outer": draw(st.integers(1, n_inner)), "m": m, "nbits": nbits, "pca_dim": pca_dim,
        "codebooks": draw(st.sampled_from(["inner", "outer", "global"])), "keep_originals": True,
        "codebook_dtype": draw(st.sampled_from(["float32", "float32", "float16", "uint8"])),
    }  # fmt: skip
    if kind in ("tiny", "large"):
        index["codebook_dtype"] = "float32"  # float16 does not hold them
    search = {"nprobe": draw(st.integers(1, n_inner + 2)), "n_outer_probe": draw(st.none() | st.integers(1, n_inner))}
    return Problem(xt, xb, xq, index, draw(st.integers(1, n + 3)), search | {"rerank": draw(st.integers(0, 3))})


class Plain:
    """A plain reading of a built index: its distances, in float64, and how exact float32 can make them."""

    def __init__(self, index: mlpq.MultiLevelPQ, xb: Array, xq: Array) -> None:
        reduce = index.reduction or (lambda x: x)
        z, queries = (reduce(x).astype(float) for x in (xb, xq))
        centroids, lists = index.clusters.inner_centroids.astype(float), index.lists
        self.cell = np.empty(len(xb), np.int64)
        self.cell[lists.ids] = np.repeat(np.arange(len(centroids)), lists.sizes)
        codes = np.empty_like(lists.rows)
        codes[lists.ids] = lists.rows
        books = [index.quantizers[index.codebook_of_cell[c]] for c in self.cell]
        decoded = np.array([pq.decode(code[None])[0] for pq, code in zip(books, codes, strict=True)], float)
        self.to_cells = np.array([((q - centroids) ** 2).sum(axis=1) for q in queries])
        self.by_code = np.array([((q - (centroids[self.cell] + decoded)) ** 2).sum(axis=1) for q in queries])
        self.exact = np.array([((q - xb.astype(float)) ** 2).sum(axis=1) for q in xq.astype(float)])
        # Rounding in a vector, and in the squares of what is left when a centre is taken away.
        everything = np.concatenate([z, queries, xb.ravel()[None, : z.shape[1]]])
        self.ulp = 8 * np.finfo(np.float32).eps * float(np.abs(np.concatenate([z, queries])).max()) * z.shape[1] ** 0.5
        self.squares = 64 * np.finfo(np.float32).eps * float(((everything - everything.mean(axis=0)) ** 2).sum(1).max())

    def rounding(self, D: Array) -> Array:
        """How far a float32 distance, summed directly, may be from D."""
        found: Array = 1e-4 * D + 2 * np.sqrt(D) * self.ulp + self.ulp**2
        return found


@quick
@given(problems())
def test_search_is_that_of_plain_code(problem: Problem) -> None:
    index = problem.build()
    plain = Plain(index, problem.xb, problem.xq)
    k, nprobe = problem.k, min(problem.search["nprobe"], index.clusters.n_inner)
    z = index.reduction(problem.xq) if index.reduction else problem.xq
    probes = index.clusters.probe(z, nprobe, problem.search["n_outer_probe"])
    D, I = index.search(problem.xq, k, **problem.search)
    rerank = problem.search["rerank"]
    for q in range(len(problem.xq)):
        cells = probes[q][probes[q] >= 0]
        if problem.search["n_outer_probe"] is None:  # the nearest cells, up to rounding
            nearest = np.sort(plain.to_cells[q])[:nprobe]
            assert (np.abs(plain.to_cells[q][cells] - nearest) <= plain.rounding(nearest) + plain.squares).all()
        allowed = np.flatnonzero(np.isin(plain.cell, cells))
        expected = (plain.exact if rerank else plain.by_code)[q]
        found = I[q][I[q] >= 0]
        assert len(found) == min(k, len(allowed)) == np.isfinite(D[q]).sum()
        assert (I[q][len(found) :] == -1).all()
        assert len(set(found)) == len(found)
        assert set(found) <= set(allowed)
        own = D[q][: len(found)]
        assert (np.diff(own) >= 0).all()
        assert (np.abs(own - expected[found]) <= plain.rounding(expected[found])).all()
        # Rank by rank, between the best of a shortlist a little longer and of one a little shorter.
        by_code = np.sort(plain.by_code[q][allowed])
        last = by_code[min(rerank * k, len(allowed)) - 1] if rerank and len(allowed) else np.inf
        slack = plain.rounding(np.array(last)) + plain.squares if np.isfinite(last) else 0
        longer, shorter = (
            np.sort(expected[allowed][plain.by_code[q][allowed] <= last + sign * slack]) for sign in (1, -1)
        )
        n, n_short = len(found), min(len(found), len(shorter))
        assert (own >= longer[:n] - plain.rounding(longer[:n]) - plain.squares).all()
        assert (own[:n_short] <= shorter[:n_short] + plain.rounding(shorter[:n_short]) + plain.squares).all()


@quick
@given(problems())
def test_codes_are_the_nearest_codewords(problem: Problem) -> None:
    index = problem.build()
    z = index.reduction(problem.xb) if index.reduction else problem.xb
    plain = Plain(index, problem.xb, problem.xq)
    for cell, rows in enumerate(np.split(index.lists.rows, index.lists.offsets[1:-1])):
        ids = index.lists.ids[index.lists.cell(cell)]
        pq = index.quantizers[index.codebook_of_cell[cell]]
        residuals = z[ids].astype(float) - index.clusters.inner_centroids[cell]
        best = reference.encode(residuals, pq.codebooks)
        for x, row, nearest in zip(residuals, rows, best, strict=True):
            sub = x.reshape(pq.m, -1)
            chosen = ((sub - pq.decode(row[None])[0].astype(float).reshape(pq.m, -1)) ** 2).sum(axis=1)
            least = ((sub - pq.codebooks[np.arange(pq.m), nearest].astype(float)) ** 2).sum(axis=1)
            assert (chosen - least <= plain.rounding(least) + plain.squares).all()


@quick
@given(problems())
def test_reranking_everything_is_exact_search(problem: Problem) -> None:
    index, exact = problem.build(), mlpq.ExactIndex(problem.xb.shape[1]).add(problem.xb)
    k, n = problem.k, len(problem.xb)
    D, I = index.search(problem.xq, k, nprobe=index.clusters.n_inner, rerank=-(-n // k))
    D_exact, I_exact = exact.search(problem.xq, k)
    assert np.array_equal(D, D_exact)
    assert reference.same_up_to_ties(D[:, :n], I[:, :n], D_exact[:, :n], I_exact[:, :n], 0)
    D_plain, I_plain = reference.exact(problem.xb, problem.xq, k)
    np.testing.assert_allclose(D, D_plain, rtol=1e-4, atol=Plain(index, problem.xb, problem.xq).ulp ** 2)
    assert reference.same_up_to_ties(D[:, :n], I[:, :n], D_plain[:, :n], I_plain[:, :n], 1e-4)


@quick
@given(problems())
def test_a_saved_index_gives_the_same(problem: Problem) -> None:
    index = problem.build()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.index"
        index.save(path)
        for loaded in (mlpq.MultiLevelPQ.load(path), mlpq.MultiLevelPQ.load(path, mmap=True)):
            for rerank in (0, 2):
                options = problem.search | {"rerank": rerank}
                found = loaded.search(problem.xq, problem.k, **options)
                for ours, theirs in zip(index.search(problem.xq, problem.k, **options), found, strict=True):
                    assert np.array_equal(ours, theirs)


@quick
@given(problems())
def test_bytes_are_predicted_and_work_does_not_change_its_input(problem: Problem) -> None:
    before = [x.copy() for x in problem[:3]]
    for x in problem[:3]:
        x.setflags(write=False)
    index = problem.build()
    index.search(problem.xq, problem.k, **problem.search)
    assert all(np.array_equal(x, old) for x, old in zip(problem[:3], before, strict=True))
    if index.quantizers.stored.shape[0] == 1 and index.lists.originals.dtype == np.float32:
        sizes = {key: value for key, value in problem.index.items() if key not in ("n_inner", "n_outer", "codebooks")}
        cells = problem.index["n_inner"], problem.index["n_outer"]
        predicted = mlpq.predict_memory(len(problem.xb), index.d, *cells, codebooks="global", **sizes)
        assert dict(index.memory()) == dict(predicted)


@quick
@given(
    st.sampled_from(KINDS),
    st.sampled_from([1, 2, 5, 8, 13]),
    st.integers(1, 80),
    st.integers(1, 90),
    st.integers(0, 99),
)
@example("few values", 1, 80, 80, 0)
def test_uncompressed_search_is_that_of_plain_code(kind: str, d: int, n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    xb, xq = vectors(kind, n, d, rng), vectors(kind, 7, d, rng)
    D_plain, I_plain = reference.exact(xb, xq, k)
    clusters = min(n, 5)
    found = [
        mlpq.ExactIndex(d).add(xb).search(xq, k),
        mlpq.KMeansIndex(d, clusters, niter=3).train(xb).add(xb).search(xq, k, nprobe=clusters),
    ]
    for D, I in found:
        np.testing.assert_allclose(D, D_plain, rtol=1e-4, atol=1e-12 * float(np.abs(xb).max()) ** 2)
        assert reference.same_up_to_ties(D[:, :n], I[:, :n], D_plain[:, :n], I_plain[:, :n], 1e-4)
        assert (I[:, n:] == -1).all()


@quick
@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 7), st.integers(0, 99), st.booleans())
def test_codewords_survive_encoding_and_decoding(m: int, nbits: int, dsub: int, seed: int, level: bool) -> None:
    rng = np.random.default_rng(seed)
    books = rng.integers(0, 3, (m, 2**nbits, dsub)) if level else rng.standard_normal((m, 2**nbits, dsub))
    pq = mlpq.ProductQuantizer.from_codebooks(books.astype(np.float32))
    numbers = rng.integers(0, 2**nbits, (50, m))
    x = pq.codebooks[np.arange(m), numbers].reshape(50, -1)
    assert np.array_equal(pq.decode(pq.encode(x)), x)
    assert np.array_equal(pq.decode(reference.pack(numbers, nbits)), x)


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every second column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "nested lists": lambda x: x.tolist(),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "f2", "f4", "f8", ">f4", ">f8", ">i4"])
def test_any_numbers_in_any_layout(dtype: str, layout: str) -> None:
    whole = np.random.default_rng(0).integers(0, 200, (90, 6)).astype(dtype)
    x, plain = LAYOUTS[layout](whole), whole.astype(np.float32)

    def results(x: Any, **options: int) -> tuple[Array, Array]:
        return (
            mlpq.MultiLevelPQ(6, 4, 2, m=3, nbits=4, keep_originals=True)
            .train(x)
            .add(x)
            .search(x, 5, nprobe=2, **options)
        )

    for options in ({}, {"rerank": 2}):
        for found, expected in zip(results(x, **options), results(plain, **options), strict=True):
            assert np.array_equal(found, expected)
