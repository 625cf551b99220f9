"""The Bytes explorer: its account against one written down otherwise and real indexes, its module against Python."""

import json
import random
from itertools import product
from typing import Any

import pytest

import mlpq
from mlpq.plots import format_bytes
from mlpq.widgets import base
from mlpq.widgets.bytes import CELLS, Bytes
from tests.conftest import ROOT, FullSet, Opened

FILE = ROOT / "book" / "recorded" / "bytes.json"
MEASURED = json.loads(FILE.read_text())["shared"]["measured"]
CHOICES = {control.name: control.recorded for control in Bytes.controls}
DRIVE = """(explorer, settings) => settings.map(setting => {
    explorer.querySelectorAll("[data-control]").forEach((input, i) => {
        input[input.options ? "selectedIndex" : "value"] = setting[i];
        input.dispatchEvent(new Event("input", { bubbles: true }));
    });
    const all = (selector, read) => [...explorer.querySelectorAll(selector)].map(read);
    const width = (one) => one.getBoundingClientRect().width;
    return {
        say: explorer.querySelector(".say").textContent,
        rows: all("tbody tr", row => [...row.cells].map(cell => cell.textContent)),
        lanes: [1, 2, 3].map(i => all(`.lane:nth-child(${i}) i`, width)),
        frames: all(".lane b", b => [b.className, width(b)]),
        stale: explorer.classList.contains("stale"),
    };
})"""


def compute(**values: Any) -> dict[str, Any]:
    return Bytes.compute(None, **Bytes(FILE).values | values)


@pytest.mark.parametrize("owner", ["inner", "outer", "global"])
@pytest.mark.parametrize(("N", "d", "m", "nbits", "cells"), [(1000, 96, 4, 6, 10), (10**12, 1536, 128, 16, 10**7)])
def test_account(N: int, d: int, m: int, nbits: int, cells: int, owner: str) -> None:
    n_outer = {10: 3, 10**7: 3162}[cells]
    books = {"inner": cells, "outer": n_outer, "global": 1}[owner] * 2**nbits * d * 4
    expected = [
        N * (m * nbits // 8),
        (4 if N <= 2**32 else 8) * N,
        books,
        (cells + n_outer) * d * 4,
        8 * (3 * cells + 1),
    ]
    point = compute(N=N, d=d, m=m, nbits=nbits, cells=cells, owner=owner)
    assert (point["bytes"], point["raw"]) == (expected, 4 * N * d)
    assert point["total"] == format_bytes(sum(expected))
    assert max(sum(expected), point["raw"]) < 2**53  # so that doubles are exact


def test_words() -> None:
    point = compute()
    assert (point["split"], point["verdict"]) == ("codebooks 98.7 %", "It fits in 1 GB and leaves 919 MB.")
    assert point["ratio"] == "The raw vectors take 188 MB, 2.3 times as much, and fit."
    shared = "On average 600 vectors share a codebook of 256 codewords"
    assert point["training"] == f"{shared}; Faiss warns if it trains from fewer than 9,984."
    assert compute(N=10**9)["verdict"] == "It does not fit in 1 GB: 11.1 GB too much."
    assert compute(N=10**6)["ratio"].endswith(", and do not fit.")
    assert compute(N=10_000)["ratio"] == "The raw vectors take 31.4 MB, less than the index, and fit."
    assert compute(N=20_000)["training"].endswith("codewords: owners with too few borrow, and it takes less.")
    assert compute(N=1000, cells=2000)["training"] == "But it cannot be trained: that takes at least 2,000 vectors."
    assert compute(N=50_000, nbits=16, cells=10)["training"].endswith("at least 65,536 vectors.")
    assert compute(N=10**6, owner="global")["training"].endswith("codebook of 256 codewords.")
    codes, ids, codebooks, *_ = compute(N=2 * 10**6)["bytes"]
    assert codes + ids < codebooks  # as the chapter says, they take over at a few million vectors
    codes, ids, codebooks, *_ = compute(N=10**7)["bytes"]
    assert codes + ids > codebooks


def test_money() -> None:
    """Prices are for a GB and a month: 100 MB at 3.00 cost 0.30."""
    point = compute(N=10**6, d=768, m=96, cells=10, owner="global", ram_price=300, ssd_price=10)
    total, raw = sum(point["bytes"]) / 1e9, 4 * 768e6 / 1e9
    said = f"A month costs {3 * total:.2f} for the index in RAM; for the raw vectors {3 * raw:.2f} in RAM, {raw / 10:.2f} on an SSD."
    assert point["cost"] == said
    dear = compute(N=10**9, d=768, m=96, cells=10, owner="global", ram_price=2000, ssd_price=50)
    assert dear["cost"].startswith("A month costs 2,000 for") or " 61,440 in RAM" in dear["cost"]
    assert "A month costs" in Bytes(FILE).words()


def test_m_that_does_not_divide_d() -> None:
    explorer = Bytes(FILE, m=32)
    with pytest.raises(ValueError, match="m must divide d=784; got m=32; valid m: 1, 2, 4, 7, ") as caught:
        mlpq.ProductQuantizer(784, 32)
    assert (explorer.words(), explorer.rows()) == (str(caught.value), [])


def test_no_data_set_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpq.widgets.base.load_dataset", lambda name: pytest.fail(f"loads {name}"))
    assert "81.3 MB" in Bytes(FILE).twin()


def test_measured_indexes_are_as_predicted() -> None:
    assert len(MEASURED) == 12
    for name, memory in MEASURED.items():
        (*numbers, owner), n_outer = name.split(","), 10
        N, d, m, nbits, cells = map(int, numbers)
        predicted = mlpq.predict_memory(N, d, cells, n_outer, m=m, nbits=nbits, codebooks=owner)
        missing = (predicted["codebooks"] - memory["codebooks"]) // (2**nbits * d * 4)
        assert predicted == memory | {"codebooks": memory["codebooks"] + missing * 2**nbits * d * 4}
        borrowing = (d, owner, nbits) == (784, "inner", 8)  # cells of the images below 256 vectors
        assert 0 < missing < 20 if borrowing else missing == 0
        said = Bytes(FILE, N=N, d=d, m=m, nbits=nbits, owner=owner).words()
        own = f" {cells - missing} of {cells} owners have a codebook of their own."
        assert said.endswith(own if missing else " A real index with these settings takes the same, to the byte.")


def test_measured_indexes_come_out_again(full_set: FullSet) -> None:
    for name, m, nbits, owner in (("fashion-mnist", 56, 4, "inner"), ("wordnet", 8, 8, "outer")):
        x = full_set(name).xb
        index = mlpq.MultiLevelPQ(x.shape[1], CELLS, 10, m=m, nbits=nbits, codebooks=owner).train(x).add(x)
        assert index.memory() == MEASURED[base.key((*x.shape, m, nbits, CELLS, owner))]


def test_module_says_and_draws_what_python_computes(opened: Opened) -> None:
    rng, explorer, errors = random.Random(0), Bytes(FILE), 0
    settings = [*product(*((0, len(values) - 1) for values in CHOICES.values()))]
    settings += [tuple(rng.randrange(len(values)) for values in CHOICES.values()) for _ in range(400)]
    for setting, shown in zip(settings, opened("bytes", "bytes").evaluate(DRIVE, settings), strict=True):
        for (name, values), at in zip(CHOICES.items(), setting, strict=True):
            explorer.set_trait(name, values[at])
        point = explorer.point()
        assert (shown["say"], shown["rows"]) == (explorer.words(), explorer.rows())
        assert shown["stale"] == ("error" in point)
        errors += shown["stale"]
        if "error" in point:
            continue
        total, room, raw = sum(point["bytes"]), explorer.ram * 10**9, point["raw"]
        index, vectors, parts = shown["lanes"]
        scale = sum(parts) / (1.06 * max(total, room))  # pixels per byte
        assert index == pytest.approx([size * scale for size in point["bytes"]], abs=1)
        assert vectors == pytest.approx([min(raw * scale, sum(parts))], abs=1)
        assert parts == pytest.approx([size / total * sum(parts) for size in point["bytes"]], abs=1)
        kinds = ["fits" if size <= room else "full" for size in (total, raw)]
        assert shown["frames"] == [[kind, pytest.approx(max(4, room * scale), abs=1)] for kind in kinds]
    assert 0 < errors < len(settings) / 2
