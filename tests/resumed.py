"""What the tests of benchmarks that record row by row share: a run that is interrupted, and goes on."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlpq.bench.__main__ import main
from mlpq.bench.store import load


def resumed(module: ModuleType, command: list[str], path: Path, after: int, left: int) -> dict[str, Any]:
    """Run a command, interrupt it after some rows, and let it go on; return the rows that it had by then.

    Args:
        module: measures a row by its `_row`.
        after, left: rows until the interruption, and from there to the end.
    """
    measured, may = module._row, [after]

    def counted(*arguments: Any) -> Any:
        if not may[0]:
            raise KeyboardInterrupt
        may[0] -= 1
        return measured(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_row", counted)
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert stopped.value.code == 130
        before: dict[str, Any] = load(path)["rows"]
        assert len(before) == after
        may[0] = left  # and no row more
        main(command)
        assert may[0] == 0
    assert load(path)["rows"].items() >= before.items()
    return before
