"""The benchmark of shards on workers: it goes on where it stopped, and counts what it says."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mlpq.bench import machines
from mlpq.bench.__main__ import main
from mlpq.data.synthetic import synthetic_chunks
from tests.resumed import resumed

N = 3000


def few(n: int, folder: Path, runs: int) -> Iterator[tuple[str, Callable[[], machines.Row]]]:
    yield "learn 4", partial(machines.learn, 4, runs)
    yield "build 4 2", partial(machines.build, n, 4, 2, folder)
    yield "memory 2048", partial(machines.memory, 2048, folder)
    yield "tail", partial(machines.tail, n, 16, folder)


def test_machines_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask.distributed", reason="needs the extra dask")
    monkeypatch.setattr(machines, "_plan", few)
    monkeypatch.setattr(machines, "NQ", 40)
    path = tmp_path / "x.json"
    command = ["machines", "--vectors", f"{N}", "--runs", "1", "--quiet", "--output", str(path)]
    resumed(machines, command, path, after=1, left=3)
    found = machines.rows(str(path))
    row = found["build 4 2"]
    assert 2 * row["sample_bytes"] < row["part"]["sent"] < 2.2 * row["sample_bytes"]
    assert row["part"]["asked"] == [4.0] * 3
    assert 1 <= row["cell"]["asked"][0] <= row["cell"]["asked"][-1] == 4
    assert found["memory 2048"]["part_bytes"] == 2048 * 512
    tail = found["tail"]
    assert tail["quantiles"] == sorted(tail["quantiles"])
    assert [tail["slowest"][str(w)][0] for w in (1, 4, 16)] == sorted(tail["slowest"][str(w)][0] for w in (1, 4, 16))
    capsys.readouterr()
    main([*command, "--report"])
    assert capsys.readouterr().out.count("\n") == 3


def test_files_hold_the_base_in_its_order(tmp_path: Path) -> None:
    paths = machines.files(N, 4, tmp_path)
    whole = np.concatenate(list(synthetic_chunks(N, machines.D)))
    assert np.array_equal(np.concatenate([np.load(path) for path in paths]), whole)


def test_another_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"about": {}, "sizes": {}}')
    with pytest.raises(ValueError, match="is not a record of `machines`"):
        machines.rows(str(tmp_path / "x.json"))


def test_never_more_workers_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, workers in ((1, [1]), (2, [1, 2]), (6, [1, 2, 4]), (None, [1])):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert machines._workers() == workers
