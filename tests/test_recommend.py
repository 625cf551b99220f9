"""What is recommended fits the budget, is as good as it says, and is built by the lines that it ends in."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mlpq
from mlpq.judge import candidates
from mlpq.judge.candidates import Budget, Kind, cell_counts

LEVELS = {"n_inner": 8, "n_outer": 3}
COLUMNS = ["n_inner", "n_outer", "pca_dim", "m", "nbits", "codebooks", "codebook_dtype", "keep_originals", "metric"]
COLUMNS += ["bytes", "nprobe", "rerank", "recall", "qps", "meets", "mlpq", "faiss"]


@pytest.fixture(scope="module")
def small() -> mlpq.Dataset:
    return mlpq.synthetic(5000, 24, nq=200, n_clusters=20)


@pytest.fixture(scope="module")
def rows(small: mlpq.Dataset) -> list[dict[str, Any]]:
    return mlpq.recommend(small, 40, 0.8)


def recall_of(lines: str, ds: mlpq.Dataset) -> tuple[float, Any]:
    """Run recommended lines; return the recall of what they find, and their index."""
    names: dict[str, Any] = {"ds": ds}
    exec(lines, names)
    return mlpq.recall_at_k(names["I"], ds.gt, names["I"].shape[1]), names["index"]


def check_order(rows: list[dict[str, Any]], recall: float) -> None:
    good = [row for row in rows if row["recall"] >= recall]
    assert rows[: len(good)] == good
    assert [row["meets"] for row in rows] == [True] * len(good) + [False] * (len(rows) - len(good))
    speeds, recalls = [row["qps"] for row in good], [row["recall"] for row in rows[len(good) :]]
    assert speeds == sorted(speeds, reverse=True)
    assert recalls == sorted(recalls, reverse=True)


def test_a_budget_and_a_recall_are_enough(small: mlpq.Dataset, rows: list[dict[str, Any]]) -> None:
    assert all(sorted(row) == sorted(COLUMNS) for row in rows)
    assert all(row["bytes"] <= 40 * 5000 for row in rows)
    assert rows[0]["meets"]
    check_order(rows, 0.8)
    assert all((row["pca_dim"] or 24) // row["m"] >= 2 for row in rows)  # one dimension each was not needed
    again = mlpq.recommend(small, 40, 0.8)
    assert {row["mlpq"]: row["recall"] for row in again} == {row["mlpq"]: row["recall"] for row in rows}


def test_mlpq_lines_build_the_index_that_was_measured(small: mlpq.Dataset, rows: list[dict[str, Any]]) -> None:
    for row in (rows[0], rows[-1]):
        recall, index = recall_of(row["mlpq"], small)
        assert recall == row["recall"]
        assert index.memory().total == row["bytes"]
        assert (index.clusters.n_inner, index.m, index.pca_dim) == (row["n_inner"], row["m"], row["pca_dim"])


@pytest.mark.parametrize(("dims", "tolerance"), [((None,), 0.03), ((12,), 0.06)])
def test_faiss_lines_build_an_index_of_the_same_kind(
    small: mlpq.Dataset, dims: tuple[int | None], tolerance: float
) -> None:
    row = mlpq.recommend(small, 40, 0.8, pca_dims=dims, n_inner=16, nbits=(6,), nprobes=(8,))[0]
    recall, index = recall_of(row["faiss"], small)
    assert recall == pytest.approx(row["recall"], abs=tolerance)
    assert index.d == 24
    assert index.ntotal == 5000


@pytest.mark.parametrize("whole", [False, True])
def test_originals_are_kept_where_the_budget_holds_them(small: mlpq.Dataset, whole: bool) -> None:
    ds = small
    if whole:  # 24 bytes an original, not 96
        ds = mlpq.dataset(*(np.clip(np.rint(20 * x + 128), 0, 255) for x in (small.xb, small.xq)))
    budget = 50 if whole else 122
    tried = mlpq.recommend(ds, budget, 0.99, nbits=(4,))
    reranked = [row for row in tried if row["rerank"]]
    assert tried[0]["meets"]
    assert tried[0] in reranked
    assert all(row["bytes"] <= budget * 5000 for row in tried)
    assert all(row["keep_originals"] for row in reranked)
    assert recall_of(tried[0]["mlpq"], ds)[0] == tried[0]["recall"]
    assert recall_of(tried[0]["faiss"], ds)[0] == pytest.approx(tried[0]["recall"], abs=0.03)
    assert ("SQ8_direct" in tried[0]["faiss"]) == whole
    fewer = mlpq.recommend(ds, budget - 30, 0.99, nbits=(4,), nprobes=(8,))
    assert not any(row["keep_originals"] for row in fewer)


def test_one_dimension_each_where_nothing_else_will_do() -> None:
    """Normal numbers, 6 of them: two dimensions in 8 bits are too coarse for 0.9, one is not."""
    x = np.random.default_rng(0).standard_normal((11_000, 6))
    rows = mlpq.recommend(mlpq.dataset(x[:-300], x[-300:]), 19, 0.9)
    assert rows[0]["meets"]
    assert rows[0]["m"] == (rows[0]["pca_dim"] or 6)
    assert any(row["m"] < (row["pca_dim"] or 6) for row in rows if not row["meets"])


def test_what_is_given_is_tried_and_nothing_else(small: mlpq.Dataset) -> None:
    owners = ("inner", "outer", "global")
    rows = mlpq.recommend(small, 60, 0.5, **LEVELS, nbits=(4, 6), owners=owners, nprobes=(1, 4), pca_dims=(None,))
    assert {(row["codebooks"], row["nbits"], row["nprobe"]) for row in rows if not row["rerank"]} == {
        (owner, bits, nprobe) for owner in owners for bits in (4, 6) for nprobe in (1, 4)
    }
    assert {(row["n_inner"], row["n_outer"], row["pca_dim"]) for row in rows} == {(8, 3, None)}
    assert {row["m"] for row in rows} == {12}  # the largest with two dimensions each: all fit
    assert all(row["bytes"] <= 60 * 5000 for row in rows)
    check_order(rows, 0.5)


def test_the_largest_m_that_fits_is_taken(small: mlpq.Dataset) -> None:
    budget = Budget(small, 18, 64, None, fixed=False, codebook_dtype="uint8")
    for kind, settings in budget.fitting([Kind("global", 8, False), Kind("global", 4, False)], None).items():
        for s in settings:
            dsub = (s["pca_dim"] or 24) // s["m"]
            wider = next((m for m in mlpq.valid_m(24) if m > s["m"] and m < 24), 24)
            larger = s | ({"m": wider} if s["pca_dim"] is None else {"m": s["m"] + 1, "pca_dim": (s["m"] + 1) * dsub})
            assert budget.bytes(s) <= 18 * 5000
            assert s["nbits"] == kind.nbits
            assert (larger["pca_dim"] or 0) > 24 or wider == 24 or budget.bytes(larger) > 18 * 5000


def test_cells() -> None:
    assert cell_counts(399_000) == [256, 512, 1024, 2048]
    assert cell_counts(60_000) == [128, 256, 512, 1024]
    assert cell_counts(200) == [4]
    assert cell_counts(1) == [1]


def test_a_target_out_of_reach_is_said(small: mlpq.Dataset) -> None:
    rows = mlpq.recommend(small, 20, 1.0, nbits=(4,), nprobes=(1, 8))
    assert not any(row["meets"] for row in rows)
    check_order(rows, 1.0)


@pytest.fixture
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(mlpq.MultiLevelPQ, "train", None)
        yield


@pytest.mark.usefixtures("nothing_is_built")
def test_bad_input(small: mlpq.Dataset) -> None:
    with pytest.raises(ValueError, match=r"at least \d+\.\d for 5000 vectors of d=24; got 1$") as error:
        mlpq.recommend(small, 1, 0.5)
    least = float(str(error.value).split("at least ")[1].split()[0])
    fits = Budget(small, least + 0.1, 1, None, fixed=False, codebook_dtype="uint8")
    assert fits.fitting([Kind("global", 4, False)], None)
    for bad, message in (
        ({"recall": 95}, "recall must be from 0 to 1; got 95"),
        ({"k": 101}, r"must have shape \(nq, 101 or more\)"),
        ({"n_inner": 5001}, "n_inner must be a whole number from 1 to 5000"),
        ({"n_inner": 4, "n_outer": 5}, "n_outer must be at most n_inner=4"),
        ({"pca_dims": (25,)}, "pca_dims must be a whole number from 1 to 24"),
        ({"owners": ("each",)}, "codebooks must be one of"),
        ({"nbits": (13,)}, r"nbits must hold one whose 2\*\*nbits is at most the number of vectors, 5000"),
        ({"nprobes": (0,)}, "nprobe must be a whole number of at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            mlpq.recommend(small, **{"bytes_per_vector": 60, "recall": 0.5, **bad})


def test_few_vectors_are_recommended_what_they_can_train() -> None:
    """200 vectors train codebooks of 16 and of 64 codewords, not of 256."""
    few = mlpq.synthetic(200, 24, nq=20, n_clusters=5, intrinsic_dim=3)
    rows = mlpq.recommend(few, 500, 0.5, n_inner=4, nbits=(4, 6, 8), nprobes=(1, 4))
    assert {row["nbits"] for row in rows} == {4, 6}
    assert {row["n_outer"] for row in rows} == {2}
    assert mlpq.recommend(few, 60, 0.5)[0]["meets"]
    with pytest.raises(ValueError, match=r"bytes_per_vector must be at least \d+\.\d for 200 vectors of d=24; got 3"):
        mlpq.recommend(few, 3, 0.5)


def test_inner_products(small: mlpq.Dataset) -> None:
    """Lengths differ: the nearest are others, and so are the best cells and codes."""
    x = small.xb[:1500]
    lengths = np.exp(np.random.default_rng(0).standard_normal((len(x), 1))).astype(np.float32)
    ds = mlpq.dataset(x * lengths, small.xq[:50], metric="ip")
    rows = mlpq.recommend(ds, 40, 0.7, nbits=(4,))
    assert rows[0]["meets"]
    assert recall_of(rows[0]["mlpq"], ds)[0] == rows[0]["recall"]
    assert "METRIC_INNER_PRODUCT" in rows[0]["faiss"]
    assert recall_of(rows[0]["faiss"], ds)[0] > 0.5


@pytest.mark.parametrize("shape", [(300, 1), (300, 13), (12, 5), (3, 2)])
def test_any_shape(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    rows = mlpq.recommend(mlpq.dataset(x, x[:2]), 1000, 0.5, k=2)
    assert rows[0]["meets"]
    assert recall_of(rows[0]["mlpq"], mlpq.dataset(x, x[:2]))[0] == rows[0]["recall"]


def test_cosine_and_padded_neighbours(small: mlpq.Dataset) -> None:
    ds = mlpq.dataset(small.xb, small.xq, metric="cosine")
    row = mlpq.recommend(ds, 40, 0.7)[0]
    assert row["meets"]
    assert recall_of(row["mlpq"], ds)[0] == row["recall"]
    ds.gt[::2, 5:] = -1
    assert 0.5 < mlpq.recommend(ds, 40, 0.9, k=5)[0]["recall"]


def test_more_vectors_train_on_a_part(small: mlpq.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpq.judge.recommend.TRAINED", 2000)
    row = mlpq.recommend(small, 30, 0.5, n_inner=8, nbits=(4,))[0]
    assert "index.train(ds.xb[::2])" in row["mlpq"]
    assert "index.train(ds.xb[::2])" in row["faiss"]
    assert recall_of(row["mlpq"], small)[0] == row["recall"]


def test_codes_are_ranked_by_the_order_they_keep(small: mlpq.Dataset) -> None:
    """Few codewords leave many neighbours at one distance, which is no order."""
    known = candidates.guide(small, 0.8, 10, 8)
    settings = [{"nbits": bits, "m": m, "pca_dim": None} for m, bits in ((4, 4), (1, 4), (12, 8), (2, 8), (4, 8))]
    ranked = candidates.by_order(settings, known, 10)
    assert [(s["m"], s["nbits"]) for s in ranked] == [(12, 8), (4, 8), (2, 8), (4, 4), (1, 4)]
