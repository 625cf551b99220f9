"""What all explorers share: recorded points, values computed on request, and a twin that needs no kernel.

An explorer is a Python class and an ES module of the same name. The class knows the data: `compute` returns what is drawn
for one setting of the controls, and the words that go with it. The module only draws. It runs in three homes: a live
notebook, where a setting that is not recorded is computed by the kernel; the rendered book over http; the same book from
disk. For the last two, the output of a cell carries a twin: the data as JSON, and a table for readers without scripts.

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
STYLE = (FOLDER / "style.css").read_text()


@dataclass(frozen=True)
class Control:
    """One control: a slider over numbers, or a choice among words.

    Attributes:
        name: trait of the explorer that holds the value.
        label: what the reader sees.
        recorded: values in the recorded grid; the book offers these.
        possible: values that a kernel can compute; `recorded` is among them. Empty: only the recorded ones.
        words: how values are shown where the number itself is not what to show.
    """

    name: str
    label: str
    recorded: tuple[int | str, ...]
    possible: tuple[int | str, ...] = ()
    words: Mapping[str, str] | None = None


@cache
def source(name: str) -> str:
    """Return the ES module of an explorer, with the module that all share put in place of its import."""
    shared = re.sub(r"^export ", "", (FOLDER / "shared.js").read_text(), flags=re.MULTILINE)
    own = (FOLDER / f"{name}.js").read_text()
    return re.sub(r'^import .* from "./shared.js";\n', lambda _: shared, own, flags=re.MULTILINE)


def key(values: Iterable[int | str]) -> str:
    """Return the name of a point: the values of the controls, in their order."""
    return ",".join(map(str, values))


class Explorer(anywidget.AnyWidget):
    """Base of all explorers: give it a recorded file, and values to start from.

    A subclass has one trait per control, and says how to compute a point.

    Args:
        recorded: JSON file written by `python -m mlpq.widgets`.
        values: one per control; the others start where the class says.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file was recorded for another explorer.
        traitlets.TraitError: a value that the control does not have.
    """

    explorer: ClassVar[str]  # the class's name in lower case: of its module, and of its recorded file
    dataset: ClassVar[str] = "fashion-mnist-20k"  # what it is recorded on
    title: ClassVar[str]
    controls: ClassVar[tuple[Control, ...]]
    say: ClassVar[str]  # one sentence or two, with {names} of values and of what a point holds
    columns: ClassVar[Mapping[str, str]]  # of the table: what a point holds -> heading
    pooled: ClassVar[str] = ""  # what points hold of the same things by name, in a record put once where all find it
    caption: ClassVar[str] = "Recorded on {dataset}: {n:,} vectors of {d} dimensions, {nq:,} queries."

    data = traitlets.Dict().tag(sync=True)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Name the explorer after its class, and give it its module."""
        if "controls" in cls.__dict__:
            cls.explorer = cls.__name__.lower()
            cls._esm, cls._css = source(cls.explorer), STYLE
        super().__init_subclass__(**kwargs)

    def __init__(self, recorded: str | Path, **values: int | str) -> None:
        record = json.loads(Path(recorded).read_text())
        if record.get("explorer") != self.explorer:
            raise ValueError(f"{recorded} was recorded for {record.get('explorer')!r}, not for {self.explorer!r}")
        setup = {
            "title": self.title,
            "say": self.say,
            "columns": dict(self.columns),
            "caption": self.caption.format_map(record),
        }
        super().__init__(data=setup | {"controls": [asdict(control) for control in self.controls]} | record)
        self.observe(self._check_value, [control.name for control in self.controls])
        for name, value in values.items():
            self.set_trait(name, value)
        self.on_msg(self._answer)

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
        return {control.name: getattr(self, control.name) for control in self.controls}

    def _check_value(self, change: Any) -> None:
        control = next(control for control in self.controls if control.name == change.name)
        allowed = control.possible or control.recorded
        if change.new not in allowed:
            self.set_trait(change.name, change.old)
            raise traitlets.TraitError(f"{change.name} must be one of {', '.join(map(str, allowed))}; got {change.new}")

    def _answer(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        """Compute the point that the front end asks for; what goes wrong is shown to the reader in words."""
        values = message["ask"]
        reply: dict[str, Any] = {"key": key(values[control.name] for control in self.controls)}
        try:
            reply["point"] = self.compute(_dataset(self.data["dataset"]), **values)
        except Exception as error:
            reply["error"] = f"{type(error).__name__}: {error}"
        self.send(reply)

    def point(self) -> Point:
        """Return what is shown now, with the words for the controls' values; computed where it is not recorded."""
        found = self.data["points"].get(key(self.values.values()))
        return (found or self.computed()) | {
            control.name: (control.words or {}).get(str(value), str(value))
            for control, value in zip(self.controls, self.values.values(), strict=True)
        }

    def computed(self) -> Point:
        """Compute what is shown now."""
        return self.compute(_dataset(self.data["dataset"]), **self.values)

    def words(self) -> str:
        """Return the sentence below the figure, or what is wrong with the setting."""
        point = self.point()
        return str(point["error"]) if "error" in point else self.say.format_map(point)

    def rows(self) -> list[list[str]]:
        """Return the table: one row, or one per entry of the lists in the point."""
        point = self.point()
        if "error" in point:
            return []
        texts = point.get("texts") or self.data["shared"].get("texts", {})
        cells = [point[name] for name in self.columns]
        length = max((len(cell) for cell in cells if isinstance(cell, list)), default=1)
        full = [cell if isinstance(cell, list) else [cell] * length for cell in cells]
        return [[texts.get(cell, str(cell)) for cell in row] for row in zip(*full, strict=True)]

    def twin(self) -> str:
        """Return the explorer as HTML that needs no kernel; without scripts, the sentence and the table remain."""
        state = json.dumps({"data": self.data} | self.values, separators=(",", ":")).replace("</", "<\\/")
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.columns.values())
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows())
        return (
            f'<div class="mlpq-explorer" data-explorer="{self.explorer}">'
            f"<p><strong>{escape(self.title)}</strong></p><p>{escape(self.words())}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p>{escape(self.data['caption'])}</p>"
            f'<script type="application/json">{state}</script></div>'
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.values.items())})"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return bundle | {"text/html": self.twin()}, metadata


def packed(values: Array) -> str:
    """Return numbers from 0 to 255, rounded, as base64 of bytes; `bytes` in shared.js reads them."""
    return b64encode(values.round().clip(0, 255).astype(np.uint8).tobytes()).decode()


@cache
def _dataset(name: str) -> Dataset:
    return load_dataset(name)
