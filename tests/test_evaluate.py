"""Recall by hand, timing that keeps every run, shares of loss that add up."""

import faiss
import numpy as np
import pytest

import mlpq


def test_recall_by_hand() -> None:
    gt = [[1, 2, 3], [4, 5, 6]]
    assert mlpq.recall_at_k([[3, 1, 9], [7, 8, 9]], gt, 3) == 2 / 6
    assert mlpq.recall_at_k([[3, 1, 9], [4, 8, 9]], gt, 1) == 1 / 2
    assert mlpq.recall_at_k([[2, 1, 9], [5, 4, 9]], gt, 2) == 1.0  # the order within k does not count
    assert mlpq.recall_at_k([[1, 1, 1], [-1, -1, -1]], gt, 3) == 1 / 6  # nor does an id that is repeated, or missing
    assert mlpq.recall_1_at_r([[3, 1, 9], [7, 8, 9]], gt, 1) == 0.0
    assert mlpq.recall_1_at_r([[3, 1, 9], [7, 8, 4]], gt, 2) == 1 / 2
    assert mlpq.recall_1_at_r([[3, 1, 9], [7, 8, 4]], gt, 3) == 1.0


def test_padding_is_no_neighbour() -> None:
    assert mlpq.recall_at_k([[0, -1, -1]], [[0, -1, -1]], 3) == 1 / 3


def test_interval_holds_the_recall_of_all_queries() -> None:
    """Of 95 % intervals from 50 queries each, 95 % hold the recall over all; half as wide ones do not suffice."""
    rng = np.random.default_rng(0)
    gt = np.tile(np.arange(10), (20_000, 1))
    found = rng.random((20_000, 10)) < rng.beta(2, 1, (20_000, 1))  # the neighbours of a query stand or fall together
    I = np.where(found, gt, -1)
    truth = mlpq.recall_at_k(I, gt, 10)
    recall, half = np.array([mlpq.recall_interval(I[q : q + 50], gt[:50], 10) for q in range(0, 20_000, 50)]).T
    assert recall.mean() == pytest.approx(truth)
    assert np.mean(abs(recall - truth) <= half) == pytest.approx(0.95, abs=0.03)
    assert np.mean(abs(recall - truth) <= half / 2) < 0.75
    with pytest.raises(ValueError, match="at least two queries"):
        mlpq.recall_interval(I[:1], gt[:1], 10)


def test_recall_is_not_agreement_by_position() -> None:
    gt = np.arange(10)[None]
    I = np.roll(gt, 1)
    assert (I == gt).mean() == 0.0
    assert mlpq.recall_at_k(I, gt, 10) == 1.0


def test_ties_count_by_distance() -> None:
    # Ids 2 and 3 are equally far: either is right at the second place, though only one of them is in gt.
    gt, distances = [[1, 2]], [[1.0, 4.0]]
    I, D = [[1, 3]], [[1.0, 4.0]]
    assert mlpq.recall_at_k(I, gt, 2) == 0.5
    assert mlpq.recall_by_distance(D, distances, 2) == 1.0
    assert mlpq.recall_by_distance([[1.0, 4.1]], distances, 2) == 0.5
    assert mlpq.recall_by_distance([[1.0, np.inf]], distances, 2) == 0.5


TRUE = [[1.0, 4.0, 9.0], [4.0, 9.0, 16.0]]


@pytest.mark.parametrize(
    ("D", "place"),
    [
        ([[1.0, 1.0, 1.0], [4.0, 9.0, 16.0]], "in row 0, sorted, place 2 is 1, nearer than the true 4:"),
        ([[1.0, 4.0, 9.0], [2.0, 3.0, 4.0]], "in row 1, sorted, place 1 is 2, nearer than the true 4:"),
        ([[16.0, 4.0, 0.9], [4.0, 9.0, 16.0]], "in row 0, sorted, place 1 is 0.9, nearer than the true 1:"),
        ([[1.0, 4.0, 9.0], [-4.0, 9.0, 16.0]], "in row 1, sorted, place 1 is -4, nearer than the true 4:"),
        ([[1.0, 4.0, 9.0], [-np.inf, 9.0, 16.0]], "in row 1, sorted, place 1 is -inf, nearer than the true 4:"),
        ([[1.0, 4.0, 9.0], [4.0, 9.0, 15.99]], "in row 1, sorted, place 3 is 15.99, nearer than the true 16:"),
    ],
)
def test_distances_that_cannot_be_true_are_refused(D: list[list[float]], place: str) -> None:
    message = f"D must hold true squared L2 distances, to k different vectors; {place} recompute .* or raise rtol"
    with pytest.raises(ValueError, match=message):
        mlpq.recall_by_distance(D, TRUE, 3)


def test_distances_in_any_order_with_none_and_with_rounding() -> None:
    assert mlpq.recall_by_distance([[9.0, 1.0, 4.0], [16.0, 9.0, 4.0]], TRUE, 3) == 1
    assert mlpq.recall_by_distance([[9.0, np.inf, 4.0], [16.0, 25.0, np.inf]], TRUE, 3) == 3 / 6
    assert mlpq.recall_by_distance([[9.0001, 1.0, 4.0], [15.9999, 8.9999, 3.9999]], TRUE, 3, rtol=1e-4) == 1
    assert mlpq.recall_by_distance([[9.0001, 1.0, 4.0], [16.0, 9.0, 4.0]], TRUE, 3) == 5 / 6
    assert mlpq.recall_by_distance([[0.5, 1.0]], [[0.5, 1.0]], 2) == 1  # below 1 a root is the larger


def test_rounding_near_zero_is_a_hit() -> None:
    assert mlpq.recall_by_distance([[1e-7]], [[0.0]], 1) == 1
    assert mlpq.recall_by_distance([[1e-7, 1.0]], [[0.0, 1.0]], 1) == 1
    assert mlpq.recall_by_distance([[1e-7, 1.0]], [[0.0, 1.0]], 2) == 1
    assert mlpq.recall_by_distance([[-1e-7, 1.0]], [[0.0, 1.0]], 2) == 1
    assert mlpq.recall_by_distance([[0.0, 1.0]], [[1e-7, 1.0]], 2) == 1
    assert mlpq.recall_by_distance([[1e-5, 1.0]], [[0.0, 1.0]], 1) == 0
    assert mlpq.recall_by_distance([[0.1, 2e6]], [[0.0, 1e6]], 1) == 1  # pixels


def test_rounding_is_of_the_scale_of_the_distances() -> None:
    """The same, a million million times smaller; and beside a query that lies far away, or rows far away."""
    assert mlpq.recall_by_distance([[1e-7]], [[1e-13]], 1) == 0
    assert mlpq.recall_by_distance([[1e-19, 1e-12]], [[0.0, 1e-12]], 1) == 1
    assert mlpq.recall_by_distance([[1e-17, 1e-12]], [[0.0, 1e-12]], 1) == 0
    assert mlpq.recall_by_distance([[1e-7, 1.0], [1e18, 2e18]], [[1e-8, 1.0], [1e18, 1e18]], 1) == 1 / 2
    assert mlpq.recall_by_distance([[2e-6], [1.0]], [[1e-6], [1.0]], 1) == 1 / 2
    assert mlpq.recall_by_distance([[1e-16], [1e-12], [1.0]], [[0.0], [1e-12], [1e-12]], 1) == 1 / 3
    assert mlpq.recall_by_distance([[1e-4, 1.0]], [[1e-5, 1e9]], 1) == 0


def test_fewer_true_neighbours_than_k() -> None:
    true = [[1.0, 4.0, np.inf]]
    assert mlpq.recall_by_distance([[1.0, 4.0, np.inf]], true, 3) == 2 / 3  # as with ids of -1
    assert mlpq.recall_by_distance([[1.0, np.inf, np.inf]], true, 3) == 1 / 3
    with pytest.raises(ValueError, match="place 3 is 5, nearer than the true inf"):
        mlpq.recall_by_distance([[1.0, 4.0, 5.0]], true, 3)


def test_distances_to_codes_are_refused_and_recomputed_ones_judged(ds: mlpq.Dataset) -> None:
    pq = mlpq.ProductQuantizer(ds.d, 8).train(ds.xb[:3000])
    D, I = pq.search(ds.xq, pq.encode(ds.xb), 10)
    with pytest.raises(ValueError, match="distances to codes"):
        mlpq.recall_by_distance(D, ds.distances, 10)
    with pytest.raises(ValueError, match="recompute distances to codes, square roots"):
        mlpq.recall_by_distance(np.sqrt(ds.distances), ds.distances, 10)
    with pytest.raises(ValueError, match="drop copies"):
        mlpq.recall_by_distance(np.repeat(ds.distances[:, :1], 10, axis=1), ds.distances, 10)
    exact = ((ds.xq[:, None] - ds.xb[I]) ** 2).sum(axis=2)
    by_id = mlpq.recall_at_k(I, ds.gt, 10)
    assert mlpq.recall_by_distance(exact, ds.distances, 10) == pytest.approx(by_id, abs=1e-3)
    assert 0 < by_id < 1


def test_recall_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    I, gt = rng.permuted(np.tile(np.arange(50), (2, 300, 1)), axis=2)
    whole = mlpq.recall_at_k(I, gt, 20)
    assert 0.35 < whole < 0.45
    monkeypatch.setattr("mlpq._parallel.BLOCK", 1000)
    assert mlpq.recall_at_k(I, gt, 20) == whole


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mlpq.recall_at_k([[1, 2]], [[1, 2, 3]], 3), ValueError, r"I must have shape \(nq, 3 or more\)"),
        (lambda: mlpq.recall_at_k([[1, 2, 3]], [[1, 2]], 3), ValueError, r"gt must have shape \(nq, 3 or more\)"),
        (lambda: mlpq.recall_at_k([[1], [2]], [[1]], 1), ValueError, "must hold the same queries; got 2 and 1"),
        (lambda: mlpq.recall_at_k([[1.0]], [[1]], 1), TypeError, "I must hold integer ids; got dtype float64"),
        (lambda: mlpq.recall_at_k([1], [[1]], 1), ValueError, "I must have shape"),
        (lambda: mlpq.recall_at_k([[1]], [[1]], 0), ValueError, "k must be a whole number of at least 1; got 0"),
        (lambda: mlpq.recall_1_at_r([[1]], [[1]], 0), ValueError, "r must be a whole number of at least 1; got 0"),
        (lambda: mlpq.recall_1_at_r([[1]], [[1]], 2), ValueError, r"I must have shape \(nq, 2 or more\)"),
        (lambda: mlpq.recall_by_distance([[1.0]], [[1.0]], 2), ValueError, r"D must have shape \(nq, 2 or more\)"),
        (lambda: mlpq.recall_by_distance([[np.nan]], [[1.0]], 1), ValueError, r"D must not hold NaN; \+inf stands for"),
        (lambda: mlpq.recall_by_distance([[1.0]], [[np.nan]], 1), ValueError, "distances must not hold NaN"),
        (lambda: mlpq.recall_by_distance([[1.0]], [[-1.0]], 1), ValueError, "distances must be .* at least 0; got -1"),
        (lambda: mlpq.recall_by_distance([["a"]], [[1.0]], 1), TypeError, "D must hold distances; got dtype <U1"),
        (lambda: mlpq.recall_by_distance([[1.0]], [[1.0]], 1, rtol=1), ValueError, "rtol must be at least 0 and below"),
        (lambda: mlpq.recall_by_distance([[1.0]], [[1.0]], 0), ValueError, "k must be a whole number of at least 1"),
        (lambda: mlpq.measure(lambda: None, 0), ValueError, "nq must be"),
        (lambda: mlpq.measure(lambda: None, 1, runs=0), ValueError, "runs must be"),
    ],
)
def test_bad_arguments(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_measure_warms_up_keeps_all_runs_and_holds_the_threads() -> None:
    calls = []

    def search() -> int:
        calls.append(faiss.omp_get_max_threads())
        return len(calls)

    before = faiss.omp_get_max_threads()
    result, timing = mlpq.measure(search, 100, threads=1, warmup=2, runs=3)
    assert result == 5
    assert calls == [1] * 5
    assert faiss.omp_get_max_threads() == before
    assert len(timing.seconds) == 3
    assert timing.threads == 1
    assert timing.qps == 100 / sorted(timing.seconds)[1]
    assert mlpq.measure(search, 1)[1].threads == before


def test_sweep(ds: mlpq.Dataset, trained: dict[str, mlpq.MultiLevelPQ]) -> None:
    rows = mlpq.sweep(trained["inner"], ds.xq, ds.gt, 10, [1, 4], runs=2)
    assert [row["nprobe"] for row in rows] == [1, 4]
    assert rows[0]["recall"] < rows[1]["recall"]
    for row in rows:
        _, I = trained["inner"].search(ds.xq, 10, nprobe=row["nprobe"])
        assert row["recall"] == mlpq.recall_at_k(I, ds.gt, 10)
        assert row["qps"] == row["timing"].qps
        assert len(row["timing"].seconds) == 2


@pytest.mark.parametrize("owner", ["global", "inner"])
@pytest.mark.parametrize(
    ("nprobe", "n_outer_probe", "rerank"), [(1, None, 0), (3, None, 0), (3, 1, 0), (3, None, 4), (32, None, 2)]
)
def test_shares_of_loss_add_up(
    ds: mlpq.Dataset,
    trained: dict[str, mlpq.MultiLevelPQ],
    owner: str,
    nprobe: int,
    n_outer_probe: int | None,
    rerank: int,
) -> None:
    index = trained[owner]
    share = mlpq.error_decomposition(index, ds.xq, ds.gt, 10, nprobe, n_outer_probe=n_outer_probe, rerank=rerank)
    _, I = index.search(ds.xq, 10, nprobe=nprobe, n_outer_probe=n_outer_probe, rerank=rerank)
    assert share["recall"] == mlpq.recall_at_k(I, ds.gt, 10)
    assert share["coarse"] + share["quantization"] + share["shortlist"] == pytest.approx(1 - share["recall"], abs=1e-12)
    cells = index.clusters.assign(ds.xb)
    probes = index.clusters.probe(ds.xq, nprobe, n_outer_probe)
    missed = [cells[i] not in probes[q] for q in range(len(ds.xq)) for i in ds.gt[q, :10]]
    assert share["coarse"] == pytest.approx(np.mean(missed))
    if rerank == 0:
        assert share["shortlist"] == 0
    else:
        assert share["quantization"] <= 1e-3  # exact distances leave nothing but ties
    if nprobe == 32:
        assert share["coarse"] == 0


def test_markdown_table() -> None:
    assert mlpq.markdown_table([{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]).split("\n") == [
        "| a | b |",
        "|:--|--:|",
        "| 1 | 2 |",
        "| 3 | 4 |",
    ]


def test_decomposition_refuses_ids_that_were_never_added(
    ds: mlpq.Dataset, trained: dict[str, mlpq.MultiLevelPQ]
) -> None:
    for bad in (-1, 20_000):
        with pytest.raises(ValueError, match="gt must hold ids of the index; "):
            mlpq.error_decomposition(trained["inner"], ds.xq[:1], np.full((1, 10), bad), 10, 3)


def test_decomposition_of_an_index_with_pca(ds: mlpq.Dataset) -> None:
    index = mlpq.MultiLevelPQ(ds.d, 16, 4, m=8, nbits=4, codebooks="global", pca_dim=64, keep_originals=True)
    index.train(ds.xb[:4000]).add(ds.xb[:4000])
    _, gt = mlpq.ExactIndex(ds.d).add(ds.xb[:4000]).search(ds.xq, 10)
    share = mlpq.error_decomposition(index, ds.xq, gt, 10, 2, rerank=3)
    assert share["recall"] == mlpq.recall_at_k(index.search(ds.xq, 10, nprobe=2, rerank=3)[1], gt, 10)
    assert sum(share.values()) == pytest.approx(1)
    cells = index.clusters.assign(index.reduction(ds.xb[:4000]))
    probes = index.clusters.probe(index.reduction(ds.xq), 2)
    assert share["coarse"] == pytest.approx(1 - (cells[gt][:, :, None] == probes[:, None]).any(axis=2).mean())
