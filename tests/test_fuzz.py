"""Some hundred damaged files for every reader; `python -m tests.fuzz SECONDS` looks for longer."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

if sys.platform == "linux":
    from tests import fuzz
else:
    pytest.skip("the memory that a reader takes is read as Linux tells it", allow_module_level=True)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fuzz.Reader]:
    reader = fuzz.Reader(tmp_path_factory.mktemp("fuzz"))
    yield reader
    reader.stop()


@pytest.mark.parametrize("name", fuzz.WRITERS)
def test_damaged_files_are_refused_or_read(name: str, reader: fuzz.Reader) -> None:
    hypothesis.seed(0)(fuzz.looker(name, reader, 150))()


def crash(_: Path) -> None:
    os.abort()


def devour(_: Path) -> None:
    bytes(2 * fuzz.SPARE_MEMORY)


def hang(_: Path) -> None:
    time.sleep(600)


def nameless(_: Path) -> None:
    raise ValueError("something is wrong somewhere")


@pytest.mark.parametrize(
    ("read", "outcome"), [(crash, "died"), (devour, "failed"), (hang, "too slow"), (nameless, "nameless")]
)
def test_faults_would_be_seen(
    read: Callable[[Path], None], outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = fuzz.Reader(tmp_path, read)
    if outcome == "too slow":
        monkeypatch.setattr(fuzz, "SECONDS", 1)
    assert reader.ask(tmp_path / "any")[0] == outcome
    reader.stop()
