"""How pytest runs the notebooks in this folder.

Relative paths are made absolute, since the kernels run in here. A notebook that
takes more memory than Binder gives fails.

Decimals in the outputs may differ by one unit in their last printed place:
k-means rounds differently on other processors, and a recall of 0.5049 prints as
0.50, one of 0.5051 as 0.51. For the same reason codes answer with other texts
there: cells tagged `nbval-ignore-output` print those, and nothing else is left
out of the comparison.
"""

import os
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell

if "MLPQ_DATA_DIR" in os.environ:
    os.environ["MLPQ_DATA_DIR"] = os.path.abspath(os.environ["MLPQ_DATA_DIR"])
if Path(os.environ.get("MLPQ_DATASET", "")).is_file():
    os.environ["MLPQ_DATASET"] = os.path.abspath(os.environ["MLPQ_DATASET"])
# Side by side, notebooks whose threads take all processors wait for each other.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    share = max(1, (os.cpu_count() or 1) // workers)
    os.environ.setdefault("OMP_NUM_THREADS", str(share))

PATIENCE = 120  # seconds: nbval awaits output for 5, and machines are busy
MEMORY_LIMIT = 900_000  # kB, of the 1 GB that Binder gives
DECIMAL = re.compile(r"\d+\.(\d+)")


def same_to_the_last_place(got: str, stored: str) -> bool:
    """Return whether texts are equal but for decimals one last unit apart."""
    if DECIMAL.sub("", got) != DECIMAL.sub("", stored):
        return False
    for ours, theirs in zip(
        DECIMAL.finditer(got), DECIMAL.finditer(stored), strict=True
    ):
        places = len(theirs[1])
        apart = abs(float(ours[0]) - float(theirs[0])) * 10**places
        if len(ours[1]) != places or apart > 1.001:
            return False
    return True


def compare_outputs(
    cell: Any, got: list[Any], stored: list[Any], *args: Any
) -> Any:
    """Compare as nbval does, after taking over decimals that agree."""
    got = deepcopy(got)
    for ours, theirs in zip(got, stored, strict=False):
        for here, there in (
            (ours, theirs),
            (ours.get("data", {}), theirs.get("data", {})),
        ):
            for key in set(here) & set(there):
                if isinstance(here[key], str) and same_to_the_last_place(
                    cell.sanitize(here[key]), cell.sanitize(there[key])
                ):
                    here[key] = there[key]
    return nbval_compare_outputs(cell, got, stored, *args)


def run_test(cell: Any) -> None:
    """Run a cell as nbval does, then look at the kernel's peak memory."""
    cell.output_timeout = PATIENCE
    nbval_run_test(cell)
    status = Path(f"/proc/{cell.parent.kernel.km.provisioner.pid}/status")
    if status.is_file() and "MLPQ_DATASET" not in os.environ:
        peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0])
        if peak > MEMORY_LIMIT:
            cell.raise_cell_error(
                f"The notebook took {peak:,} kB of {MEMORY_LIMIT:,} kB"
            )


def await_reply(kernel: Any, msg_id: str, timeout: float = 0) -> Any:
    """Wait for a kernel's reply as nbval does, but not too briefly."""
    return nbval_await_reply(kernel, msg_id, max(timeout, PATIENCE))


nbval_await_reply = RunningKernel.await_reply
RunningKernel.await_reply = await_reply
nbval_compare_outputs = IPyNbCell.compare_outputs
IPyNbCell.compare_outputs = compare_outputs
nbval_run_test = IPyNbCell.runtest
IPyNbCell.runtest = run_test
