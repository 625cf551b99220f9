"""Sphinx extension: the directive `rooms`, all public names by room, linked."""

import inspect
from types import ModuleType

import mlpq
from mlpq import distributed, plots, widgets

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOMS = ("data", "clustering", "codecs", "search", "index", "exchange", "judge")
ELSEWHERE = {"_check": "codecs", "_objects": "index"}  # told of there
ABOVE = (distributed, plots, widgets)  # rooms that are imported by name


def by_room() -> dict[str, list[tuple[str, str]]]:
    """Return the full and the short name of each public thing, by room."""
    rooms: dict[str, list[tuple[str, str]]] = {room: [] for room in ROOMS}
    for name in sorted(mlpq.__all__, key=str.lower):
        room = getattr(mlpq, name).__module__.split(".")[1]
        rooms[ELSEWHERE.get(room, room)].append((f"mlpq.{name}", name))
    for module in ABOVE:
        room = module.__name__.removeprefix("mlpq.")
        rooms[room] = [
            (f"{module.__name__}.{name}", f"{room}.{name}")
            for name in names_of(module)
        ]
    return rooms


def names_of(module: ModuleType) -> list[str]:
    """Return what a module offers: `__all__`, or its own functions."""
    own = [
        name
        for name, thing in inspect.getmembers(module, inspect.isfunction)
        if thing.__module__ == module.__name__ and not name.startswith("_")
    ]
    names = getattr(module, "__all__", own)
    return [name for name in names if callable(getattr(module, name))]


class Rooms(SphinxDirective):
    """A list of the rooms, each with links to its names."""

    def run(self) -> list[nodes.Node]:
        """Return the list."""
        found = nodes.field_list(classes=["rooms"])
        for room, names in by_room().items():
            line = nodes.paragraph()
            for number, (full, short) in enumerate(names):
                line += nodes.Text(", " if number else "")
                line += link(self.env.docname, full, short)
            field = nodes.field("", nodes.field_name("", room))
            field += nodes.field_body("", line)
            found += field
        return [found]


def link(page: str, full: str, short: str) -> nodes.Node:
    """Return a reference that Sphinx resolves to where a name is described."""
    what = {"refdomain": "py", "reftype": "obj", "reftarget": full}
    found = addnodes.pending_xref(refdoc=page, refexplicit=True, **what)
    found += nodes.literal("", short, classes=["xref", "py"])
    return found


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("rooms", Rooms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
