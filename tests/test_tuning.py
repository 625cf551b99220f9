"""Bytes foretold are bytes found; the grid measures what it says; nothing beats the Pareto front."""

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
