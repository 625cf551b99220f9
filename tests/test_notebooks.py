"""The comparison of stored outputs catches what it should: real notebooks, run by pytest as the book's are."""

import re
import shutil

import nbformat
import pytest

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


def test_stored_outputs_are_compared(pytester: pytest.Pytester) -> None:
    """Two cells per case, one that prints and one that returns a value."""
    shutil.copy(ROOT / "book" / "conftest.py", pytester.path)
    cells: list[nbformat.NotebookNode] = []
    for stored, got, _ in CASES.values():
        data = {"text/plain": repr(stored)}
        for source, output in (
            (f"print({got!r})", nbformat.v4.new_output("stream", name="stdout", text=stored + "\n")),
            (f"{got!r}", nbformat.v4.new_output("execute_result", data=data, execution_count=len(cells) + 2)),
        ):
            cells.append(nbformat.v4.new_code_cell(source, outputs=[output], execution_count=len(cells) + 1))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), pytester.path / "case.ipynb")
    sanitize = f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval_sanitize.cfg'}"
    result = pytester.runpytest_subprocess("-rA", "--color=no", "--nbval", "--nbval-current-env", sanitize)
    outcome = {
        int(line.split()[2]): line.split()[0] for line in result.outlines if re.match("(PASSED|FAILED) case", line)
    }
    expected = [("PASSED" if passes else "FAILED") for _, _, passes in CASES.values() for _ in range(2)]
    assert [outcome[number] for number in range(len(cells))] == expected
