"""The comparison of stored outputs catches what it should: real notebooks, run by pytest as the book's are."""

import shutil
from pathlib import Path

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
    "times": ("found 0.50 at 31,900/s", "found 0.50 at 7,012/s", True),
}


@pytest.mark.parametrize("case", CASES)
def test_stored_outputs_are_compared(pytester: pytest.Pytester, case: str) -> None:
    stored, got, passes = CASES[case]
    shutil.copy(ROOT / "book" / "conftest.py", pytester.path)
    cells = []
    for source, output in (
        (f"print({got!r})", nbformat.v4.new_output("stream", name="stdout", text=stored + "\n")),
        (f"{got!r}", nbformat.v4.new_output("execute_result", data={"text/plain": repr(stored)}, execution_count=2)),
    ):
        cells.append(nbformat.v4.new_code_cell(source, outputs=[output], execution_count=len(cells) + 1))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), pytester.path / "case.ipynb")
    sanitize = Path(ROOT / "tests" / "nbval_sanitize.cfg")
    result = pytester.runpytest_subprocess("--nbval", "--nbval-current-env", f"--nbval-sanitize-with={sanitize}")
    result.assert_outcomes(passed=2 if passes else 0, failed=0 if passes else 2)
