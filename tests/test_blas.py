"""Faiss computes with the kernels that this processor deserves, its threads wait asleep, and nothing else changes."""

import os
import subprocess
import sys

import pytest

from mlpq._blas import KERNELS, VARIABLE, WAITING

REPORT = """
import os
from threadpoolctl import threadpool_info
found = {library["filepath"]: library["architecture"] for library in threadpool_info() if "architecture" in library}
print(*(next((name for path, name in found.items() if part in path), "None") for part in ("numpy", "faiss")))
print(os.environ.get("OPENBLAS_CORETYPE"))
"""


def report(first: str, environment: dict[str, str] | None = None) -> tuple[str, str, str]:
    """Return the kernels of NumPy and of Faiss, and the environment variable, after the given imports."""
    env = {key: value for key, value in os.environ.items() if key != VARIABLE} | (environment or {})
    done = subprocess.run([sys.executable, "-c", first + REPORT], check=True, capture_output=True, text=True, env=env)
    numpy, faiss, variable = done.stdout.split()
    return numpy, faiss, variable


def test_faiss_takes_over_what_numpy_knows() -> None:
    numpy, faiss, variable = report("import mlpq")
    assert faiss == KERNELS.get(numpy, faiss)
    assert variable == "None"


def test_a_choice_of_the_user_stands() -> None:
    _, faiss, variable = report("import mlpq", {VARIABLE: "Nehalem"})
    assert variable == "Nehalem"
    assert faiss in ("Nehalem", "None")  # None: a Faiss with another BLAS


def test_faiss_imported_before_is_left_alone() -> None:
    assert report("import faiss, mlpq") == report("import faiss")


@pytest.mark.skipif(sys.platform != "linux", reason="reads what GNU's OpenMP says of itself")
@pytest.mark.parametrize(("chosen", "policy"), [({}, "PASSIVE"), ({WAITING: "ACTIVE"}, "ACTIVE")])
def test_threads_sleep_while_they_wait_unless_the_user_chooses(chosen: dict[str, str], policy: str) -> None:
    env = {key: value for key, value in os.environ.items() if key != WAITING} | {"OMP_DISPLAY_ENV": "TRUE"} | chosen
    code = f"import os, mlpq; print(os.environ.get({WAITING!r}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env)
    assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr
    assert done.stdout.strip() == str(chosen.get(WAITING))
