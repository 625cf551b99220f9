"""What is asked of notebooks is really asked: notebooks made for it, run by pytest as the book's are."""

import json
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import mlpq
from tests.conftest import ROOT

pytest_plugins = ["pytester"]

CASES = {
    "equal": ("recall 0.50, 26.9 MB", "recall 0.50, 26.9 MB", True),
    "one unit apart": ("recall 0.50, 26.9 MB", "recall 0.51, 26.8 MB", True),
    "across a power of ten": ("recall 0.99", "recall 1.00", True),
    "two units apart": ("recall 0.50", "recall 0.52", False),
    "one of two numbers wrong": ("0.50 0.70", "0.51 0.75", False),
    "other text": ("recall 0.50", "precision 0.50", False),
    "other precision": ("recall 0.50", "recall 0.500", False),
    "an integer": ("33 cells", "34 cells", False),
    "a number missing": ("0.50 0.60", "0.50", False),
    "times and one unit apart": ("found 0.50 at 31,900/s", "found 0.51 at 7,012/s", True),
    "times and two units apart": ("found 0.50 at 31,900/s", "found 0.52 at 7,012/s", False),
    "times": ("found 0.50 at 31,900/s", "found 0.50 at 7,012/s", True),
}


def outcomes(pytester: pytest.Pytester, cells: list[nbformat.NotebookNode]) -> dict[int, str]:
    """Run a notebook with these cells and return what pytest says of each."""
    shutil.copy(ROOT / "book" / "conftest.py", pytester.path)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), pytester.path / "case.ipynb")
    sanitize = f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval_sanitize.cfg'}"
    result = pytester.runpytest_subprocess("-rA", "--color=no", "--nbval", "--nbval-current-env", sanitize)
    lines = [line.split() for line in result.outlines if re.match("(PASSED|FAILED) case", line)]
    return {int(line[2]): line[0] for line in lines}


def test_stored_outputs_are_compared(pytester: pytest.Pytester) -> None:
    """Two cells per case, one that prints and one that returns a value."""
    cells: list[nbformat.NotebookNode] = []
    for stored, got, _ in CASES.values():
        data = {"text/plain": repr(stored)}
        for source, output in (
            (f"print({got!r})", nbformat.v4.new_output("stream", name="stdout", text=stored + "\n")),
            (f"{got!r}", nbformat.v4.new_output("execute_result", data=data, execution_count=len(cells) + 2)),
        ):
            cells.append(nbformat.v4.new_code_cell(source, outputs=[output], execution_count=len(cells) + 1))
    outcome = outcomes(pytester, cells)
    expected = [("PASSED" if passes else "FAILED") for _, _, passes in CASES.values() for _ in range(2)]
    assert [outcome[number] for number in range(len(cells))] == expected


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux tells a process's peak memory")
def test_memory_is_limited(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak counts, even where the memory is given back at once."""
    monkeypatch.delenv("MLPQ_DATASET", raising=False)
    sources = ["x = 0", "x = len(bytearray(b'1') * 950_000_000)", "x = 0"]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    assert outcomes(pytester, cells) == {0: "PASSED", 1: "FAILED", 2: "FAILED"}
    monkeypatch.setenv("MLPQ_DATASET", "some-larger-one")
    assert set(outcomes(pytester, cells).values()) == {"PASSED"}


def test_only_answers_in_words_are_not_compared() -> None:
    """Which texts codes confuse differs by processor; how many they find, in other cells, does not."""
    for path in (ROOT / "book").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if "nbval-ignore-output" in cell.metadata.get("tags", []):
                assert "words.texts[" in cell.source, path.name
                assert not re.search("recall|memory|nbytes", cell.source), path.name


def test_numbers_for_the_text_are_those_the_build_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: what a shell leaves behind changes how others print."""
    code = """
import json, sys
import myst_nb, glue
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
InteractiveShell.instance()
with capture_output() as seen:
    for one in (myst_nb.glue, glue.glue):
        one("shown", "0.93")
        one("hidden", 7, display=False)
outputs = [(output.data, output.metadata) for output in seen.outputs]
assert outputs[:2] == outputs[2:], outputs
print(json.dumps(outputs[3]))
"""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "book"))
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == [
        {"application/papermill.record/text/plain": "7"},
        {"scrapbook": {"name": "hidden", "mime_prefix": "application/papermill.record/"}},
    ]


OWN = {
    "tour": 100, "multi-level-search": 100, "comparison": 101, "bytes": 100, "choosing": 101, "what-to-use": 100,
    "rotations": 100, "codes-without-training": 100, "embeddings": 101, "registers": 100, "production": 100,
}  # fmt: skip
FEWER = """
import mlpq
whole = mlpq.load_dataset
mlpq.load_dataset = lambda name=None, **options: whole(name, **({} if name is None else {"limit": %d}), **options)
"""  # of the texts that stand beside the reader's vectors: all of them are what nbval runs
TEXTS = {"multi-level-search": 20_000, "bytes": 20_000, "rotations": 6_000}  # what is checked there holds for so many
FIXED = re.compile("recorded|784")  # cells that read recordings of Fashion-MNIST, or name its dimension


def pictures(cell: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def words(cell: nbformat.NotebookNode) -> str:
    """What the reader sees in words below a cell, and what it gives to the text."""
    data = [output.get("data", {}) for output in cell.outputs]
    seen = [str(one[key]) for one in data for key in one if key.endswith(("text/plain", "text/markdown"))]
    return "\n".join([*seen, *(output.text for output in cell.outputs if output.output_type == "stream")])


@pytest.mark.parametrize(("name", "d"), OWN.items())
def test_readers_own_vectors(name: str, d: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook runs on them to its end, sliders too, and draws as many figures as in the book; 101 is prime."""
    np.save(tmp_path / "vectors.npy", mlpq.synthetic(3000, d, nq=1, n_clusters=30).xb)
    monkeypatch.setenv("MLPQ_DATASET", str(tmp_path / "vectors.npy"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stored = nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4)
    resources = {"metadata": {"path": str(ROOT / "book")}}
    run = deepcopy(stored)
    run.cells.insert(0, nbformat.v4.new_code_cell(FEWER % TEXTS.get(name, 3_000)))
    done = NotebookClient(run, timeout=300, resources=resources).execute()
    if sys.platform == "linux":  # elsewhere the cache is in another place
        assert list((tmp_path / "mlpq").glob("neighbors-*")), "they were not computed for these vectors"
    for before, after in zip(stored.cells, done.cells[1:], strict=True):
        if after.cell_type == "code":
            assert pictures(after) == pictures(before), after.source
            if not FIXED.search(after.source):
                assert not re.search(r"(?<![\d.,])784(?![\d.,])", words(after)), after.source
            assert not any(output.get("name") == "stderr" for output in after.outputs), after.source
