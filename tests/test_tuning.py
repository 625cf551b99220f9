"""Bytes foretold are bytes found; the grid measures what it says; the recipe keeps to budget and target."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlpq

LEVELS = {"n_inner": 8, "n_outer": 3}
SETTING = {"codebooks": "global", "m": 8, "nbits": 4}


@pytest.fixture(scope="module")
def small() -> mlpq.Dataset:
    return mlpq.synthetic(5000, 24, nq=200, n_clusters=20)


@pytest.mark.parametrize("owner", ["inner", "outer", "global"])
@pytest.mark.parametrize(("m", "nbits", "keep"), [(4, 5, False), (24, 4, True), (1, 8, False)])
def test_predicted_memory_is_that_of_the_index(
    small: mlpq.Dataset, owner: mlpq.codecs.codebooks.Owner, m: int, nbits: int, keep: bool
) -> None:
    settings = {"m": m, "nbits": nbits, "codebooks": owner, "keep_originals": keep}
    index = mlpq.MultiLevelPQ(24, 8, 3, **settings).train(small.xb).add(small.xb[:3210])
    assert len(index.quantizers) == {"inner": 8, "outer": 3, "global": 1}[owner]  # nobody borrows
    assert mlpq.predict_memory(3210, 24, 8, 3, **settings) == index.memory()


def test_predicted_memory_of_any_size() -> None:
    memory = mlpq.predict_memory(10**12, 784, 10**9, 10**4, m=56, codebooks="global")
    assert memory["codes"] == 56 * 10**12
    assert memory["ids"] == 8 * 10**12
    assert mlpq.predict_memory(0, 784)["codebooks"] == 256 * 784 * 4
    for bad in ({"n": -1}, {"m": 5}, {"codebooks": "each"}):
        with pytest.raises(ValueError, match="must"):
            mlpq.predict_memory(**{"n": 10, "d": 784, **bad})


def test_grid(small: mlpq.Dataset) -> None:
    settings = [SETTING, {"codebooks": "inner", "m": 4, "nbits": 6}]
    rows = mlpq.measure_grid(small, settings, [1, 4], **LEVELS, k=5)
    assert [(row["codebooks"], row["m"], row["nbits"], row["nprobe"]) for row in rows] == [
        ("global", 8, 4, 1), ("global", 8, 4, 4), ("inner", 4, 6, 1), ("inner", 4, 6, 4),
    ]  # fmt: skip
    index = mlpq.MultiLevelPQ(24, 8, 3, m=8, nbits=4, codebooks="global").train(small.xb).add(small.xb)
    assert rows[1]["recall"] == mlpq.recall_at_k(index.search(small.xq, 5, nprobe=4)[1], small.gt, 5)
    assert rows[1]["bytes"] == index.memory().total
    assert all(row["qps"] > 0 for row in rows)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30))
def test_pareto(points: list[tuple[int, int]]) -> None:
    rows = [{"bytes": b, "recall": r} for b, r in points]
    front = mlpq.pareto(rows, small=["bytes"], large=["recall"])
    for row in rows:
        better = [r for r in rows if r["bytes"] <= row["bytes"] and r["recall"] >= row["recall"] and r != row]
        assert (row in front) == (not better)


def test_pareto_needs_columns() -> None:
    with pytest.raises(ValueError, match="must name the columns"):
        mlpq.pareto([{"bytes": 1}])


def test_recommended_settings_keep_to_the_budget(small: mlpq.Dataset) -> None:
    rows = mlpq.recommend(small, 60, 0.5, **LEVELS, nbits=(4, 6), nprobes=(1, 4))
    assert all(row["bytes"] <= 60 * len(small.xb) for row in rows)
    assert {row["codebooks"] for row in rows} == {"inner", "outer", "global"}
    for row in rows:  # the next m would not fit
        larger = [m for m in mlpq.valid_m(24) if m > row["m"]]
        settings = {"nbits": row["nbits"], "codebooks": row["codebooks"]}
        assert not larger or mlpq.predict_memory(5000, 24, 8, 3, m=larger[0], **settings).total > 60 * 5000
    good = [row for row in rows if row["meets"]]
    assert rows[: len(good)] == good
    assert all(row["recall"] >= 0.5 for row in good)
    assert all(row["recall"] < 0.5 for row in rows[len(good) :])
    speeds = [row["qps"] for row in good]
    assert good
    assert speeds == sorted(speeds, reverse=True)


def test_a_target_out_of_reach_is_said(small: mlpq.Dataset) -> None:
    rows = mlpq.recommend(small, 40, 1.0, **LEVELS, nbits=(4,), owners=("global",), nprobes=(1, 8))
    recalls = [row["recall"] for row in rows]
    assert not any(row["meets"] for row in rows)
    assert recalls == sorted(recalls, reverse=True)
    with pytest.raises(ValueError, match=r"at least \d+\.\d for 5000 vectors of d=24; got 1"):
        mlpq.recommend(small, 1, 0.5, **LEVELS)
    with pytest.raises(ValueError, match="recall must be from 0 to 1; got 95"):
        mlpq.recommend(small, 60, 95, **LEVELS)


def test_few_vectors_are_recommended_what_they_can_train() -> None:
    """200 vectors train codebooks of 16 and of 64 codewords, not of 256."""
    few = mlpq.synthetic(200, 24, nq=20, n_clusters=5, intrinsic_dim=3)
    rows = mlpq.recommend(few, 500, 0.5, n_inner=4, n_outer=2, owners=("global",), nprobes=(1, 4))
    assert {row["nbits"] for row in rows} == {4, 6}
    assert len(rows) == 4
    with pytest.raises(ValueError, match=r"nbits must hold one whose 2\*\*nbits is at most the number of vectors, 200"):
        mlpq.recommend(few, 500, 0.5, n_inner=4, n_outer=2, nbits=(8,))
    with pytest.raises(ValueError, match=r"bytes_per_vector must be at least \d+\.\d for 200 vectors of d=24; got 9"):
        mlpq.recommend(few, 9, 0.5, n_inner=4, n_outer=2)
