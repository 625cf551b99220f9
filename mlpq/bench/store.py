"""One JSON file that grows while a benchmark runs, so that an interrupted run goes on where it stopped.

    {"about": {circumstances and command line}, "engines": {...}, "points": {...}, ...}

Sections map names to results. After every step the file is written anew, whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlpq.storage import replacing

Record = dict[str, Any]
UNCOMPARED = ("command",)  # a run may go on under another command, such as one with more runs


class Store:
    """The results of one benchmark, in memory and in a file.

    Args:
        path: of the file; where it exists, its results are taken over.
        about: circumstances of this run, and "command".
        sections: names of the mappings that hold results.

    Raises:
        ValueError: the file is no such record, or one of other circumstances.
        FileNotFoundError: its folder does not exist.
    """

    def __init__(self, path: str | os.PathLike[str], about: Mapping[str, Any], sections: Iterable[str]) -> None:
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"no such folder: {str(self.path.parent)!r}")
        self.record: Record = {"about": dict(about)} | {name: {} for name in sections}
        if self.path.exists():
            found = load(self.path)
            _check_same(self.path, found["about"], about)
            self.record |= found | {"about": dict(about)}

    def section(self, name: str) -> Record:
        """Return one mapping of names to results; after a change, call `save`."""
        results: Record = self.record[name]
        return results

    def save(self) -> None:
        """Write the file; one line per result, so that a version control system shows what changed."""
        parts = []
        for name, results in self.record.items():
            lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in results.items())
            parts.append(f" {json.dumps(name)}: {{\n{lines}\n }}")
        with replacing(self.path) as part:
            part.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def load(path: str | os.PathLike[str]) -> Record:
    """Read a record.

    Raises:
        ValueError: it is none.
        FileNotFoundError: no such file.
    """
    try:
        record = json.loads(Path(path).read_text())
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)!r} is not a benchmark record: {error}") from None
    if not isinstance(record, dict) or not all(
        isinstance(part, dict) for part in [record.get("about"), *record.values()]
    ):
        raise ValueError(f"{os.fspath(path)!r} is not a benchmark record: it has no circumstances")
    return record


def source() -> str:
    """Return a digest of the package's own modules but the benchmarks: results of other code are not mixed in."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        if Path(__file__).parent not in path.parents:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _check_same(path: Path, before: Record, now: Mapping[str, Any]) -> None:
    names = [name for name in {**before, **now} if name not in UNCOMPARED and before.get(name) != now.get(name)]
    if names:
        changes = "; ".join(f"{name}: {before.get(name)!r} there, {now.get(name)!r} now" for name in names)
        raise ValueError(
            f"{str(path)!r} was recorded under other circumstances ({changes}): "
            "restore them, name another file with --output, or delete this one"
        )
