"""What all explorers share: recorded points, values computed on request, and a twin that needs no kernel.

An explorer is a Python class and an ES module of the same name. The class knows the data: `compute` returns what is drawn
for one setting of the controls, and the words that go with it. The module only draws. It runs in three homes: a live
notebook, where a setting that is not recorded is computed by the kernel; the rendered book over http; the same book from
disk. For the last two, the output of a cell carries a twin: the data as JSON, and a table for readers without scripts.

Given records of two data sets, an explorer offers both. What differs by data set, such as the values of m that divide d,
is said by a subclass of the explorer, its face for that set.

    python -m mlpq.widgets NAME FILE     records an explorer's points; see `__main__.py`
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from html import escape
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import numpy as np
import traitlets
from tqdm.auto import tqdm

from mlpq._check import Array
from mlpq.data.datasets import Dataset, load_dataset

Point = dict[str, Any]
FOLDER = Path(__file__).parent
STYLE = (FOLDER / "style.css").read_text("utf-8")
KINDS = {"fashion-mnist": "images", "wordnet": "texts"}  # what data sets hold


@dataclass(frozen=True)
class Control:
    """One control: a slider over numbers, or a choice among words.

    Attributes:
        name: trait of the explorer that holds the value.
        label: what the reader sees.
        recorded: values in the recorded grid; the book offers these.
        possible: values that a kernel can compute; `recorded` is among them. Empty: only the recorded ones.
        words: how values are shown where the number itself is not what to show.
        play: whether a button takes the slider through its values.
    """

    name: str
    label: str
    recorded: tuple[int | str, ...]
    possible: tuple[int | str, ...] = ()
    words: Mapping[str, str] | None = None
    play: bool = False


@cache
def source(name: str) -> str:
    """Return an ES module without comments, with the modules that it imports in their place: it needs no other file."""
    inside: list[str] = []

    def module(found: re.Match[str]) -> str:
        if found[1] in inside:
            return ""
        inside.append(found[1])
        text = (FOLDER / found[1]).read_text("utf-8")
        return re.sub(r"^export ", "", imports.sub(module, text), flags=re.MULTILINE)

    imports = re.compile(r'^import .* from "\./([\w-]+\.js)";\n', re.MULTILINE)
    whole = imports.sub(module, (FOLDER / f"{name}.js").read_text("utf-8"))
    return re.sub(r"^ *//.*\n", "", whole, flags=re.MULTILINE)


def family(dataset: str) -> str:
    """Return the name of a data set without what marks the part of it that is embedded in the package."""
    return dataset.removesuffix("-20k")


def key(values: Iterable[int | str]) -> str:
    """Return the name of a point: the values of the controls, in their order."""
    return ",".join(map(str, values))


class Explorer(anywidget.AnyWidget):
    """Base of all explorers: give it recorded files, and values to start from.

    A subclass has one trait per control, and says how to compute a point. A subclass of that is its face for another
    data set.

    Args:
        recorded, more: JSON files written by `python -m mlpq.widgets`, one for each data set to choose from.
        vectors: name of the data set to start with; default: that of the first file.
        values: one per control; the others start where the class says, or next to it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file was recorded for another explorer.
        traitlets.TraitError: a value that the control does not have, or a data set of none of the files.
    """

    explorer: ClassVar[str]  # the class's name in lower case: of its module, and of its recorded file
    faces: ClassVar[dict[str, type[Explorer]]]  # data set -> the subclass that knows it, and its embedded part
    dataset: ClassVar[str] = "fashion-mnist-20k"  # what it is recorded on
    title: ClassVar[str]
    controls: ClassVar[tuple[Control, ...]]
    say: ClassVar[str]  # one sentence or two, with {names} of values and of what a point holds
    columns: ClassVar[Mapping[str, str]]  # of the table: what a point holds -> heading
    pooled: ClassVar[str] = ""  # what points hold of the same things by name, in a record put once where all find it
    caption: ClassVar[str] = "Recorded on {dataset}: {n:,} vectors of {d} dimensions, {nq:,} queries."

    sets = traitlets.Dict().tag(sync=True)  # name of a data set -> what is shown of it
    vectors = traitlets.Unicode().tag(sync=True)  # which of them is shown

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Name the explorer after its class and give it its module; or enter a face for a data set."""
        if Explorer in cls.__bases__:
            cls.explorer, cls.faces = cls.__name__.lower(), {}
            cls._esm, cls._css = source(cls.explorer), STYLE
        else:
            cls.faces[family(cls.dataset)] = cls
        super().__init_subclass__(**kwargs)

    def __init__(
        self, recorded: str | Path, *more: str | Path, vectors: str | None = None, **values: int | str
    ) -> None:
        sets = {}
        for file in (recorded, *more):
            record = json.loads(Path(file).read_text())
            if record.get("explorer") != self.explorer:
                raise ValueError(f"{file} was recorded for {record.get('explorer')!r}, not for {self.explorer!r}")
            sets[record["dataset"]] = self.face(record["dataset"]).about(record) | record
        super().__init__(sets=sets, vectors=next(iter(sets)))
        self.observe(self._check_value, [control["name"] for control in self.data["controls"]])
        self.observe(self._move, "vectors")
        self._move()
        if vectors is not None:
            self.set_trait("vectors", vectors)
        for name, value in values.items():
            self.set_trait(name, value)
        self.on_msg(self._answer)

    @classmethod
    def face(cls, dataset: str) -> type[Explorer]:
        """Return the class that knows a data set: a face, or this one."""
        return cls.faces.get(family(dataset), cls)

    @classmethod
    def about(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the front end needs beside a record."""
        return {
            "kind": KINDS.get(family(record["dataset"]), record["dataset"]),
            "title": cls.title,
            "say": cls.say,
            "columns": dict(cls.columns),
            "caption": cls.caption.format_map(record),
            "controls": [asdict(control) for control in cls.controls],
        }

    @property
    def data(self) -> dict[str, Any]:
        """What is shown of the data set that is chosen."""
        shown: dict[str, Any] = self.sets[self.vectors]
        return shown

    @classmethod
    def shared(cls, ds: Dataset) -> dict[str, Any]:
        """Return what every point needs to be drawn: images, dots on a map."""
        return {}

    @classmethod
    def compute(cls, ds: Dataset, *args: Any, **values: Any) -> Point:
        """Return what is drawn, and said, for one setting of the controls; numbers that are read are strings."""
        raise NotImplementedError

    @classmethod
    def grid(cls) -> list[tuple[int | str, ...]]:
        """Return the settings that are recorded: every combination of the controls' recorded values."""
        return list(product(*(control.recorded for control in cls.controls)))

    @classmethod
    def record(cls, ds: Dataset, every: int = 1) -> dict[str, Any]:
        """Compute the recorded grid, or every so-manieth point of it."""
        names = [control.name for control in cls.controls]
        settings = {key(values): dict(zip(names, values, strict=True)) for values in cls.grid()[::every]}
        bar = tqdm(settings.items(), desc=cls.explorer)
        points = {name: cls.compute(ds, **values) for name, values in bar}
        shared = cls.shared(ds)
        for point in points.values() if cls.pooled else ():
            shared[cls.pooled] = shared.get(cls.pooled, {}) | point.pop(cls.pooled)
        return {"explorer": cls.explorer, "shared": shared, "points": points}

    @property
    def values(self) -> dict[str, int | str]:
        """What the controls are set to."""
        return {control["name"]: getattr(self, control["name"]) for control in self.data["controls"]}

    @traitlets.validate("vectors")
    def _check_vectors(self, proposal: Any) -> str:
        if proposal.value not in self.sets:
            raise traitlets.TraitError(f"vectors must be one of {', '.join(self.sets)}; got {proposal.value}")
        return str(proposal.value)

    def _check_value(self, change: Any) -> None:
        control = next(control for control in self.data["controls"] if control["name"] == change.name)
        allowed = control["possible"] or control["recorded"]
        if change.new not in allowed:
            self.set_trait(change.name, change.old)
            raise traitlets.TraitError(f"{change.name} must be one of {', '.join(map(str, allowed))}; got {change.new}")

    def _move(self, _: Any = None) -> None:
        """Move each value that the data set lacks to the nearest that is recorded, as shared.js does."""
        for control in self.data["controls"]:
            value, recorded = getattr(self, control["name"]), control["recorded"]
            if value not in recorded:
                choice = isinstance(value, str)
                self.set_trait(control["name"], recorded[0] if choice else min(recorded, key=lambda v: abs(v - value)))

    def _answer(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        """Compute the point that the front end asks for; what goes wrong is shown to the reader in words."""
        values, vectors = message["ask"], message["vectors"]
        names = [control["name"] for control in self.sets[vectors]["controls"]]
        reply: dict[str, Any] = {"vectors": vectors, "key": key(values[name] for name in names)}
        try:
            reply["point"] = self.face(vectors).compute(_dataset(vectors), **values)
        except Exception as error:
            reply["error"] = f"{type(error).__name__}: {error}"
        self.send(reply)

    def point(self) -> Point:
        """Return what is shown now, with the words for the controls' values; computed where it is not recorded."""
        found = self.data["points"].get(key(self.values.values()))
        return (found or self.computed()) | {
            control["name"]: (control["words"] or {}).get(str(value), str(value))
            for control, value in zip(self.data["controls"], self.values.values(), strict=True)
        }

    def computed(self) -> Point:
        """Compute what is shown now."""
        return self.face(self.vectors).compute(_dataset(self.vectors), **self.values)

    def words(self) -> str:
        """Return the sentence below the figure, or what is wrong with the setting."""
        point = self.point()
        return str(point["error"]) if "error" in point else self.data["say"].format_map(point)

    def rows(self) -> list[list[str]]:
        """Return the table: one row, or one per entry of the lists in the point."""
        point = self.point()
        if "error" in point:
            return []
        texts = point.get("texts") or self.data["shared"].get("texts", {})
        cells = [point[name] for name in self.data["columns"]]
        length = max((len(cell) for cell in cells if isinstance(cell, list)), default=1)
        full = [cell if isinstance(cell, list) else [cell] * length for cell in cells]
        return [[texts.get(cell, str(cell)) for cell in row] for row in zip(*full, strict=True)]

    def twin(self) -> str:
        """Return the explorer as HTML that needs no kernel; without scripts, the sentence and the table remain."""
        data = self.data
        state = json.dumps({"sets": self.sets, "vectors": self.vectors} | self.values, separators=(",", ":")).replace(
            "</", "<\\/"
        )
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in data["columns"].values())
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows())
        return (
            f'<div class="mlpq-explorer" data-explorer="{self.explorer}">'
            f"<p><strong>{escape(data['title'])}</strong></p><p>{escape(self.words())}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p>{escape(data['caption'])}</p>"
            f'<script type="application/json">{state}</script></div>'
        )

    def __repr__(self) -> str:
        chosen = {"vectors": self.vectors} if len(self.sets) > 1 else {}
        return (
            f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in (chosen | self.values).items())})"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return bundle | {"text/html": self.twin()}, metadata


def packed(values: Array) -> str:
    """Return numbers from 0 to 255, rounded, as base64 of bytes; `bytes` in shared.js reads them."""
    return b64encode(values.round().clip(0, 255).astype(np.uint8).tobytes()).decode()


@cache
def _dataset(name: str) -> Dataset:
    return load_dataset(name)
