"""What is to be built: the parts, where they are cut into pieces, and the file that says so."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlpq import _check
from mlpq._check import Array
from mlpq.data.readers import mapped
from mlpq.index import MultiLevelPQ
from mlpq.storage import replacing

PLAN, MODEL, LOCK = "plan.json", "model.h5", ".lock"
FORMAT, VERSION = "mlpq-shards", 1
PIECE = 1 << 28  # bytes of a shard, about: a build that is killed loses no more than those in work

Source = str | Array  # the path of a file, or vectors (n, d)


@dataclass(frozen=True)
class Part:
    """A part of the base: where it is, how many vectors it has, and by what it is known again.

    Attributes:
        name: the path of a file, or "array 3".
        rows: number of vectors.
        mark: changes when the content does: size and time of a file, SHA-256 of an array.
    """

    name: str
    rows: int
    mark: str


@dataclass(frozen=True)
class Piece:
    """Neighbouring rows of one part, which become one shard.

    Attributes:
        part: number of the part.
        start, stop: its rows of that part.
        first: id of the first of them.
    """

    part: int
    start: int
    stop: int
    first: int


def opened(source: Source) -> Array:
    """Return the vectors (n, d) of a part; those of a file stay there until they are read."""
    return mapped(source, known=True) if isinstance(source, str) else source


def described(number: int, part: Any, d: int) -> tuple[Source, Part]:
    """Return a part as it is read, and what is written down of it.

    Raises:
        FileNotFoundError, ValueError, TypeError: no vectors of d dimensions; the message names the part.
    """
    if isinstance(part, str | os.PathLike):
        path = Path(part).resolve()
        array, status = mapped(path), path.stat()
        source: Source = str(path)
        found = Part(str(path), len(array), f"{status.st_size} bytes, {status.st_mtime_ns}")
    else:
        array = source = _check.array(part, f"parts[{number}]")
        digest = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() if array.dtype.kind in "fiu" else ""
        found = Part(f"array {number}", len(array) if array.ndim else 0, digest)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"parts[{number}] must hold floats or integers; got dtype {array.dtype}")
    if array.ndim != 2 or array.shape[1] != d:
        raise ValueError(f"parts[{number}] must have shape (n, {d}); got shape {array.shape}")
    return source, found


class Plan:
    """The parts of a build, its index, and how shards are made: what stands in `plan.json`.

    Args:
        settings: of the index.
        by: "part" or "cell".
        parts: in the order of their ids.
        piece: rows of a piece, at most.
    """

    def __init__(self, settings: Mapping[str, Any], by: str, parts: Sequence[Part], piece: int) -> None:
        self.settings, self.by, self.parts, self.piece = dict(settings), by, list(parts), piece

    @classmethod
    def of(cls, index: MultiLevelPQ, by: str, parts: Sequence[Part]) -> Plan:
        width = index.code_size + 4 + (4 * index.d if index.keep_originals else 0)
        return cls(index._settings(), by, parts, max(1, PIECE // width))

    @property
    def pieces(self) -> list[Piece]:
        """All pieces, in the order of ids."""
        return list(self._cut())

    def _cut(self) -> Iterator[Piece]:
        first = 0
        for number, part in enumerate(self.parts):
            for start in range(0, part.rows, self.piece):
                stop = min(start + self.piece, part.rows)
                yield Piece(number, start, stop, first + start)
            first += part.rows

    @property
    def shards(self) -> list[str]:
        """Names of the files that are searched, one for each piece."""
        return [f"shard-{number:05}.h5" for number in range(len(self.pieces))]

    @property
    def encoded(self) -> list[str]:
        """Names of the files that pieces are encoded to: the shards themselves, unless these are routed by cell."""
        return self.shards if self.by == "part" else [f"piece-{number:05}.h5" for number in range(len(self.pieces))]

    @property
    def rows(self) -> int:
        """Number of vectors in all parts."""
        return sum(part.rows for part in self.parts)

    def write(self, folder: Path) -> None:
        parts = [asdict(part) for part in self.parts]
        content = {"settings": self.settings, "by": self.by, "piece": self.piece, "parts": parts}
        with replacing(folder / PLAN) as file:
            file.write_text(json.dumps({FORMAT: VERSION} | content, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read what `write` wrote.

        Raises:
            FileNotFoundError: nothing was built there.
            ValueError: not such a file, or of another version.
        """
        path = folder / PLAN
        if not path.is_file():
            raise FileNotFoundError(f"no {PLAN} in {str(folder)!r}: nothing was built there")
        try:
            content = json.loads(path.read_text())
            if content[FORMAT] != VERSION:
                raise ValueError(f"it has version {content[FORMAT]}, and this mlpq reads version {VERSION}")
            parts = [Part(**part) for part in content["parts"]]
            return cls(content["settings"], content["by"], parts, _check.integer(content["piece"], "piece", 1))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{str(path)!r} is not the plan of a build: {error}") from error

    def grown_from(self, other: Plan, folder: Path) -> None:
        """Refuse to go on with a build of something else; more parts may have come, unless it is routed by cell."""
        parts = self.parts if self.by == "cell" else self.parts[: len(other.parts)]
        for what, ours, theirs in (
            ("settings", self.settings, other.settings), ("by", self.by, other.by), ("parts", parts, other.parts),
        ):  # fmt: skip
            if ours != theirs:
                raise ValueError(
                    f"{str(folder)!r} holds another build, whose {what} differ: {different(ours, theirs)}; "
                    f"build in another folder, or delete this one"
                )


def different(ours: Any, theirs: Any) -> str:
    """Say where two values of one kind first differ: what is there, and what is asked for."""
    if isinstance(ours, dict):
        names: Iterable[Any] = sorted(ours.keys() | theirs.keys())
        name = next(name for name in names if ours.get(name) != theirs.get(name))
        return f"{name} is {theirs.get(name)!r} there and {ours.get(name)!r} here"
    if isinstance(ours, list):
        if len(ours) != len(theirs):
            return f"{len(theirs)} there and {len(ours)} here"
        number = next(i for i, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
        return f"parts[{number}] is {theirs[number]} there and {ours[number]} here"
    return f"{theirs!r} there and {ours!r} here"
