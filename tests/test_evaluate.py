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
        with pytest.raises(ValueError, match="gt must hold ids from 0 to 19999; got"):
            mlpq.error_decomposition(trained["inner"], ds.xq[:1], np.full((1, 10), bad), 10, 3)
